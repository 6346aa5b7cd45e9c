"""scap-ov validate: any two forms of one network, what it prints, and its exit code."""

from __future__ import annotations

import json

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx_graphs import FORMS, K
from small_llm import small_folder
from small_onnx import as_ir, small_decoder, token_data

import scap_ov
from scap_ov.calibration.run_onnx import observe
from scap_ov.cli.main import main
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_model import open_onnx


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The five kinds of one network, by name."""
    folder = tmp_path_factory.mktemp("validate")
    # Thresholds in wide gaps would be needed for exactness; at 10 % no entry of this data lies within rounding of its own.
    config = SparsityConfig(method="scap", target_sparsity=0.1, replace="always", dynamic_quantization=False)
    plan = scap_ov.fit(observe(open_onnx(small_decoder()), token_data()), config)
    paths = {name: str(folder / name) for name in ("stock.onnx", "sparse.onnx", "boxes.onnx", "stock.xml", "portable.xml", "lowered.xml")}
    onnx.save(small_decoder(), paths["stock.onnx"])
    onnx.save(scap_ov.apply(small_decoder(), plan), paths["sparse.onnx"])
    onnx.save(scap_ov.apply(small_decoder(), plan, form="function"), paths["boxes.onnx"])
    model = as_ir(small_decoder())
    ov.save_model(model, paths["stock.xml"], compress_to_fp16=False)
    for form in ("portable", "lowered"):
        ov.save_model(scap_ov.apply(model, plan, form=form), paths[f"{form}.xml"], compress_to_fp16=False)
    return paths


def figures(*arguments):
    path = arguments[-1]
    code = main(["validate", *map(str, arguments[:-1]), "--json", str(path), "--overwrite"])
    return code, json.loads(path.read_text())


@pytest.mark.parametrize(
    ("a", "b", "kinds"),
    [
        ("stock.onnx", "stock.xml", ("ONNX", "stock IR")),
        ("sparse.onnx", "boxes.onnx", ("sparse ONNX", "sparse ONNX")),
        ("sparse.onnx", "portable.xml", ("sparse ONNX", "sparse IR, portable")),
        ("portable.xml", "lowered.xml", ("sparse IR, portable", "sparse IR, lowered")),
        ("boxes.onnx", "lowered.xml", ("sparse ONNX", "sparse IR, lowered")),
    ],
)
def test_forms_of_one_plan_agree(models, a, b, kinds, tmp_path):
    code, found = figures(models[a], models[b], tmp_path / "f.json")
    assert (found["a_kind"], found["b_kind"]) == kinds
    assert found["passed"]
    assert code == 0
    by_name = {output["name"]: output for output in found["outputs"]}
    assert set(by_name) == {"logits", *(f"present.{i}.{part}" for i in (0, 1) for part in ("key", "value"))}
    assert by_name["logits"]["max_difference"] < 1e-3
    assert by_name["logits"]["top1_agreement"] == 1
    assert by_name["logits"]["kl_divergence"] == pytest.approx(0, abs=1e-6)
    assert by_name["present.0.key"]["cosine_min"] == pytest.approx(1, abs=1e-6)
    assert found["runs"] == 4 * 9  # prompts, and single tokens that are pruned


@pytest.mark.parametrize(("a", "b"), [("stock.onnx", "sparse.onnx"), ("stock.xml", "lowered.xml"), ("stock.xml", "boxes.onnx")])
def test_pruning_shows_and_exits_1(models, a, b, tmp_path, capsys):
    code, found = figures(models[a], models[b], tmp_path / "f.json")
    assert code == 1
    assert not found["passed"]
    logits = next(output for output in found["outputs"] if output["name"] == "logits")
    assert logits["max_difference"] > 0.01
    assert logits["kl_divergence"] > 1e-6
    assert logits["rows_above_tolerance"] > 0
    assert "above the tolerance of 0.01: logits" in capsys.readouterr().out


def test_tolerance_and_outliers_are_heeded(models, tmp_path):
    pair = models["stock.onnx"], models["sparse.onnx"]
    assert figures(*pair, "--tolerance", 1e6, tmp_path / "f.json")[0] == 0
    assert figures(*pair, "--outliers", 0.999, tmp_path / "f.json")[0] == 0
    assert main(["validate", *pair, "--tolerance", "-1"]) == 2
    assert main(["validate", *pair, "--tolerance", "nan"]) == 2
    assert main(["validate", *pair, "--outliers", "1"]) == 2


def test_stateful_folders_are_run_step_by_step(tmp_path):
    stock = small_folder(tmp_path / "stock")
    code, found = figures(stock, stock, tmp_path / "f.json")
    assert code == 0
    assert found["runs"] == 36
    assert [output["name"] for output in found["outputs"]] == ["logits"]


def test_arrays_from_a_file(tmp_path):
    form = FORMS["nbits 4 zp bias"]()
    onnx.save(form.proto, tmp_path / "a.onnx")
    np.savez(tmp_path / "x.npz", x=np.ones((2, 3, K), np.float32))
    ov.save_model(ov.Core().read_model(tmp_path / "a.onnx"), tmp_path / "a.xml", compress_to_fp16=False)
    code, found = figures(tmp_path / "a.onnx", tmp_path / "a.xml", "--data", tmp_path / "x.npz", tmp_path / "f.json")
    assert code == 0
    assert found["outputs"][0]["rows"] == 6
    assert found["outputs"][0]["max_difference"] < 1e-4  # accuracy level 4, as the file has it, would be off by 1e-2


def test_text_is_tokenized(models, tmp_path, monkeypatch):
    monkeypatch.setattr("scap_ov.models.tokenizer.load_tokenizer", lambda folder: lambda text: [ord(c) % 128 for c in text])
    (tmp_path / "text.txt").write_text("A dog ran over the hill. " * 20)
    code, found = figures(
        models["stock.onnx"], models["stock.xml"], "--data", tmp_path / "text.txt", "--tokens", 64, "--window", 32, tmp_path / "f.json"
    )
    assert code == 0
    assert sum(output["rows"] for output in found["outputs"] if output["name"] == "logits") == 64


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("nowhere.txt", "there is no such file; give a text file, a .jsonl or an .npz"),
        ("nowhere.npz", "cannot be read as an .npz file"),
        ("empty.txt", "is empty"),
        ("text.npz", "cannot be read as an .npz file"),
    ],
)
def test_bad_data(models, tmp_path, capsys, data, says):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "text.npz").write_text("no arrays")
    assert main(["validate", models["stock.onnx"], models["stock.xml"], "--data", str(tmp_path / data)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_bad_models(models, tmp_path, capsys):
    assert main(["validate", models["stock.onnx"], str(tmp_path / "none.onnx")]) == 2
    (tmp_path / "bad.onnx").write_text("no model")
    assert main(["validate", models["stock.onnx"], str(tmp_path / "bad.onnx")]) == 2
    onnx.save(FORMS["matmul f32"]().proto, tmp_path / "other.onnx")
    assert main(["validate", models["stock.onnx"], str(tmp_path / "other.onnx")]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.strip()]) == 3
