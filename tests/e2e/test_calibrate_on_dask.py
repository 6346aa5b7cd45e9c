"""The example for dask.distributed: a worker is killed at work, and the profile is still that of one run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tokenizers
from small_llm import TEXT, small_folder

from scap_ov.calibration.observe import observe
from scap_ov.models.dataset import text_dataset
from scap_ov.statistics.profile import CalibrationProfile

EXAMPLE = Path(__file__).parents[2] / "examples" / "calibrate_on_dask.py"
SHARDS, TOKENS, WINDOW = 3, 288, 48


def letter_tokenizer(folder: Path) -> None:
    """A tokenizer.json with a token for each printable letter."""
    letters = {chr(code): code for code in range(32, 127)}
    model = tokenizers.models.WordLevel({**letters, "[UNK]": 0}, unk_token="[UNK]")
    words = tokenizers.Tokenizer(model)
    words.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    words.save(str(folder / "tokenizer.json"))


def kill_a_worker(of: subprocess.Popen, parts: Path) -> int:
    """Kill one of two workers when the first shard is done: at work on the next, then."""
    psutil = pytest.importorskip("psutil")
    deadline = time.monotonic() + 200
    while not list(parts.glob("*.part-*")):
        assert of.poll() is None, of.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [p for p in psutil.Process(of.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    victim = min(workers, key=lambda p: p.create_time()).pid
    os.kill(victim, signal.SIGKILL)
    return victim


@pytest.mark.slow  # workers start twice, and calibrate three shards
def test_a_killed_worker_changes_nothing(tmp_path):
    pytest.importorskip("distributed")
    stock = small_folder(tmp_path / "stock")
    letter_tokenizer(stock)
    text, output = tmp_path / "text.txt", tmp_path / "profile.safetensors"
    text.write_text(TEXT)
    numbers = {"--shards": SHARDS, "--tokens": TOKENS, "--window": WINDOW, "--workers": 2}
    words = [word for name, value in numbers.items() for word in (name, str(value))]
    command = [sys.executable, "-I", str(EXAMPLE), str(stock), str(text), str(output), *words]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        kill_a_worker(run, tmp_path)
        told, complaints = run.communicate(timeout=400)
    finally:
        run.kill()
    assert run.returncode == 0, complaints
    assert f"{SHARDS} of {SHARDS} shards" in told
    assert "Restarting worker" in complaints
    assert not list(tmp_path.glob("*.part-*"))

    model = ov.Core().read_model(stock / "openvino_model.xml")
    whole = observe(model, text_dataset(text, stock, model, seq_len=WINDOW, max_tokens=TOKENS))
    merged = CalibrationProfile.load(output)
    assert merged.metadata["samples"] == whole.metadata["samples"]
    assert not merged.missing_shards
    assert merged.sensitivity
    for name, statistics in whole.statistics.items():
        for key, value in statistics.tensors.items():
            np.testing.assert_array_equal(merged.statistics[name].tensors[key], value, err_msg=f"{name}/{key}")
