"""Print the requirements of one extra of pyproject.toml, so that `make` installs them without building the package again."""

from __future__ import annotations

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

wanted = sys.argv[1]
for text in requires("scap_ov") or []:
    requirement = Requirement(text)
    if requirement.marker and requirement.marker.evaluate({"extra": wanted}) and not requirement.marker.evaluate({"extra": ""}):
        requirement.marker = None
        print(str(requirement).replace(" ", ""))
