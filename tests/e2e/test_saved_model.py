"""A saved model gives the same logits in a new process and from OpenVINO's cache; without the library the portable form runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import decode_steps
import numpy as np
import openvino as ov
from decode_steps import EXACT, run_steps

import scap_ov

_CHILD = """
import sys
sys.path.insert(0, sys.argv[5])
import numpy as np
import openvino as ov
from decode_steps import EXACT, run_steps
core = ov.Core()
if sys.argv[2] == "registered":
    import scap_ov
    scap_ov.register(core)
compiled = core.compile_model(core.read_model(sys.argv[1] + "/openvino_model.xml"), "CPU", EXACT)
np.save(sys.argv[4], run_steps(compiled, np.load(sys.argv[3])))
"""


def compile_here(folder, **properties):
    core = ov.Core()
    scap_ov.register(core)
    return core.compile_model(core.read_model(folder / "openvino_model.xml"), "CPU", {**EXACT, **properties})


def run_in_a_new_process(folder, ids, tmp_path, *, registered):
    """
    :return: the finished process and its logits, None when it failed.
    """
    given, made = tmp_path / "ids.npy", tmp_path / "logits.npy"
    np.save(given, ids)
    words = [folder, "registered" if registered else "bare", given, made, Path(decode_steps.__file__).parent]
    done = subprocess.run([sys.executable, "-I", "-c", _CHILD, *map(str, words)], capture_output=True, text=True, check=False)
    return done, np.load(made) if done.returncode == 0 else None


def test_lowered_gives_the_same_logits_in_a_new_process(lowered_folder, token_ids, tmp_path):
    expected = run_steps(compile_here(lowered_folder), token_ids)
    done, actual = run_in_a_new_process(lowered_folder, token_ids, tmp_path, registered=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(expected, actual)


def test_lowered_without_the_library_names_our_op(lowered_folder, token_ids, tmp_path):
    done, _ = run_in_a_new_process(lowered_folder, token_ids, tmp_path, registered=False)
    assert done.returncode != 0
    assert "SparseMatMul" in done.stderr
    assert "scap_ov" in done.stderr


def test_portable_runs_without_the_library(portable_folder, lowered_folder, token_ids, tmp_path):
    done, portable = run_in_a_new_process(portable_folder, token_ids, tmp_path, registered=False)
    assert done.returncode == 0, done.stderr
    lowered = run_steps(compile_here(lowered_folder), token_ids)
    # Later steps may part: rounding decides on which side of the threshold a value falls (test_lower_sparse_matmul compares each op).
    np.testing.assert_allclose(lowered[:-2], portable[:-2], atol=1e-4 * np.abs(portable).max())
    assert (lowered.argmax(1) == portable.argmax(1)).all()


def test_cache_dir_gives_the_same_logits_twice(lowered_folder, token_ids, tmp_path):
    expected = run_steps(compile_here(lowered_folder), token_ids)
    cold = compile_here(lowered_folder, CACHE_DIR=str(tmp_path / "cache"))
    np.testing.assert_array_equal(expected, run_steps(cold, token_ids))
    warm = compile_here(lowered_folder, CACHE_DIR=str(tmp_path / "cache"))
    assert warm.get_property("LOADED_FROM_CACHE")
    np.testing.assert_array_equal(expected, run_steps(warm, token_ids))


def test_pruning_changes_the_decode_steps_only(stock_folder, lowered_folder, token_ids):
    """Prompts of more than max_sparse_rows tokens are dense."""
    stock, sparse = (run_steps(compile_here(folder), token_ids) for folder in (stock_folder, lowered_folder))
    prompt = token_ids.shape[1] - 3
    np.testing.assert_allclose(stock[:prompt], sparse[:prompt], atol=1e-2 * np.abs(stock).max())
    assert np.abs(stock[prompt:] - sparse[prompt:]).max() > 1e-2 * np.abs(stock).max()
