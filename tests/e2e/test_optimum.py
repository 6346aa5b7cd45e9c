"""optimum-intel runs the pruned model after one call, `scap_ov.register(modeling_base.core)`, as examples/optimum_generate.py does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "optimum_generate.py"


@pytest.mark.slow
def test_ov_model_for_causal_lm_generates(exported_sparse):
    command = [sys.executable, "-I", str(EXAMPLE), str(exported_sparse), "What is the capital of France?", "--tokens", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
