"""openvino-genai finds a model of any name as openvino_model.xml, without a copy."""

from __future__ import annotations

from scap_ov.storage.linked_folder import linked_folder


def test_the_usual_name_needs_no_links(tmp_path):
    with linked_folder(tmp_path / "openvino_model.xml") as folder:
        assert folder == tmp_path


def test_another_name_is_linked_beside_all_that_lies_there(tmp_path, monkeypatch):
    for name in ("llama.xml", "llama.bin", "openvino_model.xml", "openvino_model.bin", "config.json"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    with linked_folder((tmp_path / "llama.xml").relative_to(tmp_path)) as folder:
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "openvino_model.xml": "llama.xml", "openvino_model.bin": "llama.bin", "config.json": "config.json"}  # fmt: skip
    assert not folder.exists()
    assert (tmp_path / "llama.xml").read_text() == "llama.xml"
