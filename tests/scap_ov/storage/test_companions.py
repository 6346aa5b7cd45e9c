"""What goes with a model. Files are small texts: contents are not looked at."""

from __future__ import annotations

import os
import stat

import pytest

from scap_ov.errors import BadModelError
from scap_ov.storage import companions as module
from scap_ov.storage.companions import companions, told


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "stock"


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def copied(model, *, alone=False):
    """Names that are copied, as they lie in the copy."""
    target = model.parent.parent / "copy"
    target.mkdir()
    companions(model, [model, model.with_suffix(".bin")], alone=alone).copy(target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_rule_1_everything_goes_with_a_model_but_its_own_files(folder):
    """Nested models, adapters and parts of a pipeline are others' files, even of names that this model might have."""
    kept = ["1_Dense/model.safetensors", "config.json", "draft/openvino_model.bin", "draft/openvino_model.xml",
            "lora/adapter.safetensors", "openvino_tokenizer.bin", "openvino_tokenizer.xml", "openvino_vision_model.bin",
            "openvino_vision_model.xml", "tok.model"]  # fmt: skip
    own = ["openvino_language_model.xml", "openvino_language_model.bin", "openvino_language_model.blob"]
    put(folder, *kept, *own, "scap_config.json", "model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin", "q4.gguf",
        "model_cache/1.blob", "1.cl_cache", ".cache/x", ".gitattributes")  # fmt: skip
    assert copied(folder / own[0]) == kept


def test_rule_1_an_empty_folder_is_kept(folder):
    put(folder, "config.json")
    (folder / "empty").mkdir()
    found = companions(folder / "m.xml", [folder / "m.xml"])
    assert [str(path) for path in found.folders] == ["empty"]
    assert found.size == len("config.json")


def test_rule_2_a_file_of_a_folder_of_many_models_goes_alone(folder):
    put(folder, "llama.xml", "llama.bin", "other.xml", "other.bin", "notes.txt")
    assert copied(folder / "llama.xml", alone=True) == []


def test_rule_2_a_file_of_a_model_folder_brings_the_folder(folder):
    put(folder, "decoder.onnx", "encoder.onnx", "genai_config.json")
    assert copied(folder / "decoder.onnx", alone=True) == ["encoder.onnx", "genai_config.json"]


def test_rule_3_links_of_the_hugging_face_cache_and_inside_the_folder_are_followed(tmp_path):
    repository = tmp_path / "models--a--b"
    put(repository / "blobs", "1", "2")
    snapshot = repository / "snapshots" / "abc"
    (snapshot / "sub").mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/1")
    (snapshot / "sub" / "x.json").symlink_to("../../../blobs/2")
    (snapshot / "copy.json").symlink_to("config.json")
    (snapshot / "again").symlink_to("sub")
    put(snapshot, "openvino_model.xml")
    found = companions(snapshot / "openvino_model.xml", [snapshot / "openvino_model.xml"])
    assert {str(place): source.read_text() for source, place in found.files} == {
        "again/x.json": "2", "config.json": "1", "copy.json": "1", "sub/x.json": "2"}  # fmt: skip
    assert found.skipped == []


def test_rule_3_what_cannot_or_must_not_be_followed_is_told(folder, tmp_path):
    put(folder, "config.json", "sub/a")
    put(tmp_path, "secret")
    put(tmp_path / "blobs", "1")  # blobs, but not of a snapshot
    (folder / "secret.txt").symlink_to(tmp_path / "secret")
    (folder / "blob").symlink_to("../blobs/1")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "gone.json").symlink_to("nowhere")
    (folder / "self").symlink_to("self")
    (folder / "loop").symlink_to(".")
    (folder / "sub" / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")
    found = companions(folder / "m.xml", [folder / "m.xml"])
    assert [str(place) for _, place in found.files] == ["config.json", "sub/a"]
    assert dict(found.skipped) == {
        "secret.txt": f"a link to {tmp_path}/secret, outside the model's folder",
        "blob": f"a link to {tmp_path}/blobs/1, outside the model's folder",
        "outside": f"a link to {tmp_path}, outside the model's folder",
        "gone.json": "a link to nowhere, which is not there",
        "self": "a link to self, which is not there",
        "loop": "a link to a folder that it is in",
        "sub/up": "a link to a folder that it is in",
        "pipe": "neither a file nor a folder",
    }
    assert "gone.json is not copied: it is a link to nowhere, which is not there" in list(told(found))


def test_modes_are_those_of_new_files(folder, tmp_path):
    put(folder, "sub/a")
    (folder / "sub" / "a").chmod(0o400)
    (folder / "sub").chmod(0o555)
    (tmp_path / "new").mkdir()
    try:
        companions(folder / "m.xml", [folder / "m.xml"]).copy(tmp_path / "new")
    finally:
        (folder / "sub").chmod(0o755)
    assert stat.S_IMODE((tmp_path / "new" / "sub").stat().st_mode) & 0o200
    assert stat.S_IMODE((tmp_path / "new" / "sub" / "a").stat().st_mode) & 0o200


def test_an_unreadable_companion_is_refused_first(folder, monkeypatch):
    put(folder, "secret.txt")

    def refused(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "open", refused, raising=False)  # tests may run as root, who reads everything
    with pytest.raises(BadModelError, match=r"secret\.txt cannot be read \(Permission denied\), and goes with the model"):
        companions(folder / "m.xml", [folder / "m.xml"])
