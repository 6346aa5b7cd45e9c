"""What all tests share: hypothesis without a deadline (other processes may hold the cores), reproducible in CI."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("scap_ov", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "scap_ov")
