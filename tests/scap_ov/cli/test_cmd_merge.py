"""`scap-ov merge`: the profile of all shards, and what it says about it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_up_profile import make_profile, make_samples, make_sites

from scap_ov.cli.main import main
from scap_ov.statistics.profile import CalibrationProfile

SITES = make_sites(1)
SAMPLES = make_samples(SITES, 6)


@pytest.fixture
def shards(tmp_path):
    files = [str(tmp_path / f"{number}.safetensors") for number in range(2)]
    for file, samples in zip(files, (SAMPLES[:4], SAMPLES[4:]), strict=True):
        make_profile(samples, SITES).save(file)
    return files


def test_the_merged_file_is_the_profile_of_one_pass(shards, tmp_path, capsys):
    out = str(tmp_path / "all.safetensors")
    assert main(["merge", *shards, "-o", out, "--json", str(tmp_path / "said.json")]) == 0
    whole, merged = make_profile(SAMPLES, SITES), CalibrationProfile.load(out)
    for site in SITES:
        for name, value in whole.statistics[site.name].tensors.items():
            np.testing.assert_array_equal(merged.statistics[site.name].tensors[name], value)
    told = json.loads((tmp_path / "said.json").read_text())
    assert (told["merged"], told["samples"], told["profile"]) == (2, 6, out)
    assert capsys.readouterr().out.startswith(f"{out}: 2 profiles, 6 samples, ")


def test_profiles_of_two_models_are_refused_and_nothing_is_written(shards, tmp_path, capsys):
    other = make_sites(2)
    make_profile(make_samples(other, 2), other).save(shards[1])
    out = tmp_path / "all.safetensors"
    assert main(["merge", *shards, "-o", str(out)]) != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_file_that_is_given_twice_is_refused_and_nothing_is_written(shards, tmp_path, capsys):
    out, link, copy = (tmp_path / name for name in ("all.safetensors", "link.safetensors", "copy.safetensors"))
    link.symlink_to(shards[0])
    copy.write_bytes((tmp_path / "0.safetensors").read_bytes())
    for again, told in ((shards[0], "is the same file as"), (str(link), "is the same file as"), (str(copy), "profiles 1 and 3")):
        assert main(["merge", *shards, again, "-o", str(out)]) == 2
        said = capsys.readouterr().err.strip()
        assert told in said
        assert "count twice" in said
        assert len(said.splitlines()) == 1
        assert not out.exists()
