"""Types of what is read from JSON and written to it: a figure of a report, a record in a model, the options of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

JsonObject: TypeAlias = "dict[str, Any]"  # which values there are is said by whoever reads it; checked where it comes from outside
JsonMapping: TypeAlias = "Mapping[str, Any]"  # one that is read alone
