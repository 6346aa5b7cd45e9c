"""`scap-ov calibrate --shard`: the profiles of all shards merge into the profile of one run."""

from __future__ import annotations

import numpy as np
import pytest
from small_llm import TEXT, letters, small_folder

from scap_ov.cli.main import main
from scap_ov.statistics.profile import CalibrationProfile


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("shards")
    small_folder(home / "stock")
    (home / "text.txt").write_text(TEXT)
    return home


@pytest.mark.slow  # four calibrations
def test_the_shards_merge_into_the_profile_of_one_run(home, monkeypatch, capsys):
    monkeypatch.setattr("scap_ov.models.dataset.load_tokenizer", lambda folder: letters)
    for name in ("whole", "1/3", "2/3", "3/3"):
        words = [] if name == "whole" else ["--shard", name]
        data = ["--data", str(home / "text.txt"), "--tokens", "480", "--window", "48"]
        assert main(["calibrate", str(home / "stock"), *data, *words, "-o", str(home / f"{name[0]}.safetensors")]) == 0
    parts = [str(home / f"{number}.safetensors") for number in (3, 1, 2)]
    capsys.readouterr()
    assert main(["merge", *parts[:2], "-o", str(home / "some.safetensors")]) == 0
    assert "shards that are missing: 2/3" in capsys.readouterr().out
    assert main(["merge", str(home / "some.safetensors"), parts[2], "-o", str(home / "all.safetensors")]) == 0
    assert "missing" not in capsys.readouterr().out
    whole, merged = (CalibrationProfile.load(home / f"{name}.safetensors") for name in ("w", "all"))
    assert merged.metadata == whole.metadata
    for name, statistics in whole.statistics.items():
        for key, value in statistics.tensors.items():
            np.testing.assert_array_equal(merged.statistics[name].tensors[key], value, err_msg=f"{name}/{key}")
    assert merged.sensitivity.keys() == whole.sensitivity.keys()
    for name, table in whole.sensitivity.items():  # every window was measured once on either side; each shard fitted its own thresholds
        np.testing.assert_allclose(merged.sensitivity[name]["loss"][2:], table["loss"][2:], rtol=0.25, err_msg=name)


@pytest.mark.parametrize(
    ("words", "told"), [(["--shard", "4/3"], "the shard is '4/3'"), (["--shard", "1/3", "--sequential"], "--sequential profiles cannot")]
)
def test_what_is_no_shard_is_refused_before_the_work(home, words, told, capsys):
    assert main(["calibrate", str(home / "stock"), *words, "-o", str(home / "none.safetensors")]) == 2
    assert told in capsys.readouterr().err
    assert not (home / "none.safetensors").exists()
