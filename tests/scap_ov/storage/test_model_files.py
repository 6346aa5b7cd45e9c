"""Which file a path means. Models are small texts: only their heads are looked at."""

from __future__ import annotations

import pytest

from scap_ov.errors import BadModelError
from scap_ov.storage.model_files import model_file


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('<?xml version="1.0"?>\n<net name="m">' if name.endswith(".xml") else "")


def test_each_way_of_not_being_a_model_has_its_sentence(tmp_path):
    with pytest.raises(BadModelError, match="there is no file or folder"):
        model_file(tmp_path / "absent")
    with pytest.raises(BadModelError, match=r"has no openvino_model\.xml and no other model; export one"):
        model_file(tmp_path)
    put(tmp_path, "a.txt", "a.xml")
    with pytest.raises(BadModelError, match="neither a model folder nor"):
        model_file(tmp_path / "a.txt")
    with pytest.raises(BadModelError, match=r"has no a\.bin"):
        model_file(tmp_path / "a.xml")
    put(tmp_path / "repository", "onnx/model.onnx")
    with pytest.raises(BadModelError, match=r"there is one in .*repository/onnx"):
        model_file(tmp_path / "repository")


@pytest.mark.parametrize("name", ["openvino_model", "llama", "openvino_language_model"])
def test_rule_1_the_only_model_of_a_folder_whatever_its_name(tmp_path, name):
    put(tmp_path, f"{name}.xml", f"{name}.bin", "openvino_tokenizer.xml", "openvino_detokenizer.xml", "encoder.onnx")
    (tmp_path / "settings.xml").write_text("<settings/>")
    assert model_file(tmp_path) == tmp_path / f"{name}.xml"


def test_rule_1_the_usual_name_goes_first(tmp_path):
    put(tmp_path, "openvino_model.xml", "openvino_model.bin", "openvino_vision_model.xml")
    assert model_file(tmp_path) == tmp_path / "openvino_model.xml"


@pytest.mark.parametrize("names", [["model.onnx", "encoder.onnx"], ["model.onnx"]])
def test_rule_1_onnx_folders(tmp_path, names):
    put(tmp_path, *names)
    assert model_file(tmp_path) == tmp_path / "model.onnx"


@pytest.mark.parametrize(
    ("names", "likely"),
    [(["openvino_language_model.xml", "openvino_vision_embeddings_model.xml"], "openvino_language_model.xml"),
     (["openvino_decoder_model.xml", "openvino_encoder_model.xml"], "openvino_decoder_model.xml"),
     (["decoder_model.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx"], "decoder_model.onnx")],
)  # fmt: skip
def test_rule_2_several_models_are_named_and_tokenizers_are_not(tmp_path, names, likely):
    put(tmp_path, *names, "openvino_tokenizer.xml")
    with pytest.raises(BadModelError) as refused:
        model_file(tmp_path)
    assert f"has several models: {', '.join(names)}; give the path of one, such as {tmp_path / likely}" in str(refused.value)
