"""What all tests share.

1. Hypothesis has no deadline (other processes may hold the cores), and is reproducible in CI.
2. No test reads or fills the caches of the user; one run of tests, with its workers and what they start, shares one that is removed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

settings.register_profile("scap_ov", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "scap_ov")

if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.mkdtemp(prefix="scap_ov-tests-")
    os.environ["XDG_CACHE_HOME"] = _CACHE
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
