"""One Core compiles what we run, so that signals find a stack in the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from small_llm import small_folder

TWO_CALLS = """
import os, signal, sys
import nncf, numpy as np
import scap_ov

stock = sys.argv[1]
data = nncf.Dataset([np.arange(1, 24, dtype=np.int64)[None]])
plan = scap_ov.fit(scap_ov.calibrate(stock, data), scap_ov.SparsityConfig(target_sparsity=0.5, replace="always"))
scap_ov.evaluate(scap_ov.apply(stock, plan), stock, [list(range(1, 24))])
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_behind_our_calls_is_handled(tmp_path: Path) -> None:
    """Ctrl-C ended the process by a segmentation fault: the stack for signals was that of a plugin that had gone."""
    command = [sys.executable, "-I", "-c", TWO_CALLS, str(small_folder(tmp_path / "stock", "i8"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
