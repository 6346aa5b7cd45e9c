"""Models keep their names, whole folders go along, and an output that is a file is one."""

from __future__ import annotations

import pytest

from scap_ov.backends import onnx as onnx_backend
from scap_ov.backends import openvino as backend
from scap_ov.errors import OutputError
from scap_ov.storage.destination import destination


@pytest.fixture
def stock(tmp_path):
    """A folder of a pipeline: its models are texts, for only names and sizes are looked at."""
    folder = tmp_path / "stock"
    folder.mkdir()
    for name in ("openvino_language_model", "openvino_vision_model"):
        (folder / f"{name}.xml").write_text("<net>")
        (folder / f"{name}.bin").write_bytes(bytes(1000))
    (folder / "config.json").write_text("{}")
    return folder


def write(place):
    place.write(lambda file: file.write_text("sparse"), lambda folder: (folder / "scap_config.json").write_text("{}"))


def test_rule_2_a_folder_keeps_the_name_of_the_model(stock, tmp_path):
    given = stock / "openvino_language_model.xml"
    write(destination(given, tmp_path / "out", backend.own_files(given)))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "openvino_language_model.xml", "openvino_vision_model.xml", "openvino_vision_model.bin", "config.json",
        "scap_config.json"}  # fmt: skip
    assert (tmp_path / "out" / "openvino_language_model.xml").read_text() == "sparse"


def test_rule_1_an_output_that_ends_as_a_model_file_is_a_file(stock, tmp_path):
    given = stock / "openvino_language_model.xml"
    write(destination(given, tmp_path / "out.xml", backend.own_files(given)))
    assert (tmp_path / "out.xml").read_text() == "sparse"
    with pytest.raises(OutputError, match="exists already"):
        destination(given, tmp_path / "out.xml", backend.own_files(given))
    destination(given, tmp_path / "out.xml", backend.own_files(given), overwrite=True)
    (tmp_path / "dir.xml").mkdir()
    assert destination(given, tmp_path / "dir.xml", backend.own_files(given)).beside is not None


def test_rule_1_the_kinds_must_agree(stock, tmp_path):
    (tmp_path / "m.onnx").write_text("")
    with pytest.raises(OutputError, match=r"out\.onnx is the name of an ONNX model, and openvino_language_model\.xml is an OpenVINO model"):
        destination(stock / "openvino_language_model.xml", tmp_path / "out.onnx", [])
    with pytest.raises(OutputError, match=r"out\.xml is the name of an OpenVINO model, and m\.onnx is an ONNX model"):
        destination(tmp_path / "m.onnx", tmp_path / "out.xml", onnx_backend.own_files(tmp_path / "m.onnx"))


def test_the_model_that_is_read_is_not_overwritten(stock):
    given = stock / "openvino_language_model.xml"
    with pytest.raises(OutputError, match=r"is the file that model \(openvino_language_model\.xml\) reads"):
        destination(given, given, backend.own_files(given), overwrite=True)


def test_room_is_asked_for_the_copy_and_the_weights(stock, tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr("scap_ov.storage.destination.check_folder", lambda folder, size=0, **_: sizes.append(size))
    given = stock / "openvino_language_model.xml"
    destination(given, tmp_path / "out", backend.own_files(given))
    assert sizes == [1000 + 5 + 2 + (1000 + 5)]  # the other model, config.json; .bin and .xml


def test_what_does_not_fit_is_seen_before_the_work(stock, tmp_path):
    with pytest.raises(OutputError, match="is inside the model's folder"):
        destination(stock / "openvino_language_model.xml", stock / "out", [])
