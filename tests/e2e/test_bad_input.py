"""Bad input through the command line: one clear sentence, exit code 2, and nothing half-written."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from small_llm import TEXT, letters, small_folder, small_llm

import scap_ov
from scap_ov import errors
from scap_ov.calibration.observe import observe
from scap_ov.cli.main import main
from scap_ov.models.dataset import text_dataset
from scap_ov.storage.model_folder import write_model_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_folder(tmp_path_factory.mktemp("small") / "stock")


@pytest.fixture(scope="module")
def profile(folder):
    """Path of a profile of the small model."""
    model = ov.Core().read_model(folder / "openvino_model.xml")
    path = folder.with_name("profile.safetensors")
    observe(model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=512)).save(path)
    return path


@pytest.fixture
def apply(capsys, folder, profile, tmp_path):
    """Run `scap-ov apply`; give back the exit code and the one line on standard error."""

    def run(*options, model=folder, output=tmp_path / "out", calibration=("--profile", profile)):
        capsys.readouterr()
        code = main([str(a) for a in ("apply", model, output, *calibration, "--replace", "always", "--method", "scap", *options)])
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) <= 1, lines
        return code, lines[0] if lines else ""

    return run


def test_good_input_is_taken(apply, tmp_path):
    assert apply("--target-sparsity", "0.5") == (0, "")
    assert {"openvino_model.xml", "openvino_model.bin", "config.json", "scap_config.json"} <= {p.name for p in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("value", "said"),
    [("-0.1", "target_sparsity is -0.1"), ("1.0", "target_sparsity is 1.0"), ("abc", "target_sparsity is 'abc'"), ("nan", "is nan")],
)
def test_bad_sparsities(apply, tmp_path, value, said):
    code, line = apply(f"--target-sparsity={value}")
    assert code == 2
    assert said in line
    assert "such as 0.5" in line
    assert not (tmp_path / "out").exists()


def test_no_such_folder(apply, tmp_path):
    code, line = apply(model=tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in line
    assert not (tmp_path / "out").exists()


def test_folder_without_a_model(apply, tmp_path):
    (tmp_path / "empty").mkdir()
    code, line = apply(model=tmp_path / "empty")
    assert code == 2
    assert "openvino_model.xml" in line


def test_model_without_fully_connected_layers(apply, tmp_path):
    x = ops.parameter([1, 4], np.float32, name="x")
    write_model_folder(ov.Model([ops.relu(x)], [x], "none"), None, tmp_path / "none")
    (tmp_path / "text.txt").write_text(TEXT)
    code, line = apply(model=tmp_path / "none", calibration=("--data", tmp_path / "text.txt"))
    assert code == 2
    assert "no fully connected layer" in line
    with pytest.raises(errors.BadModelError, match="no fully connected layer"):
        scap_ov.apply(tmp_path / "none", nncf.Dataset([np.ones((1, 4), np.float32)]))


def test_a_sparse_model_is_not_pruned_twice(apply, tmp_path):
    assert apply() == (0, "")
    code, line = apply(model=tmp_path / "out", output=tmp_path / "again")
    assert code == 2
    assert "sparse already" in line
    assert not (tmp_path / "again").exists()


def test_profile_of_another_model(apply, tmp_path):
    small_folder(tmp_path / "other", "i8")
    code, line = apply(model=tmp_path / "other")
    assert code == 2
    assert "another model" in line
    assert not (tmp_path / "out").exists()


def test_output_that_is_not_empty_is_left_as_it_is(apply, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    code, line = apply()
    assert code == 2
    assert "not empty" in line
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]


def test_empty_data(apply, folder, tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    code, line = apply(calibration=("--data", tmp_path / "empty.txt"))
    assert code == 2
    assert "empty" in line
    with pytest.raises(errors.BadDatasetError):
        scap_ov.calibrate(folder, nncf.Dataset([]))


def test_nan_in_the_activations(folder):
    model = ov.Core().read_model(folder / "openvino_model.xml")
    multiplied = [op for op in model.get_ordered_ops() if op.get_type_name() == "Multiply"]
    norm = next(op for op in multiplied if op.input_value(0).get_node().get_type_name() == "Constant")
    bad = ops.constant(np.full((1, 1, norm.get_output_partial_shape(0)[-1].get_length()), np.nan, np.float32))
    norm.input(0).replace_source_output(bad.output(0))
    with pytest.raises(errors.BadDatasetError, match="NaN"):
        scap_ov.calibrate(model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=128))


def test_a_full_disk_leaves_nothing(apply, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        code, line = apply()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert "free some space" in line
    assert not list(tmp_path.iterdir())


def test_a_plan_brings_its_own_options(apply, profile, tmp_path):
    plan = scap_ov.fit(scap_ov.CalibrationProfile.load(profile), scap_ov.SparsityConfig(method="scap"))
    plan.save(tmp_path / "plan.safetensors")
    code, line = apply(calibration=("--plan", tmp_path / "plan.safetensors"))
    assert code == 2
    assert "its own configuration" in line
    with pytest.raises(errors.UsageError, match="its own configuration"):
        scap_ov.apply(small_llm(), plan, replace(plan.config, target_sparsity=0.2))


def test_files_that_are_no_profile(apply, tmp_path):
    path = Path(tmp_path / "profile.safetensors")
    path.write_bytes(b"nonsense")
    code, line = apply(calibration=("--profile", path))
    assert code == 2
    assert "cannot be read as a calibration profile" in line
