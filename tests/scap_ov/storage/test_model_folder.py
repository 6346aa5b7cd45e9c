"""Opening folders, atomic writing, alignment. The models are made here: a few layers of openvino ops."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.errors import BadModelError, OutputError
from scap_ov.storage import rt_info
from scap_ov.storage.aligned import save_aligned
from scap_ov.storage.model_folder import read_model, write_model_folder


def small_model(width: int = 37, seed: int = 0) -> ov.Model:
    """Two MatMuls with odd sizes and a string of small constants, so that nothing is aligned by chance."""
    rng = np.random.default_rng(seed)
    x = ops.parameter([-1, width], np.float32, name="x")
    y = x
    for _ in range(2):
        w = ops.constant(rng.standard_normal((width, width), np.float32).astype(np.float16))
        y = ops.matmul(y, ops.convert(w, np.float32), False, True)
        y = ops.add(y, ops.constant(rng.standard_normal(3, np.float32)[:1]))
    return ov.Model([y], [x], "small")


def offsets(xml: Path) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in re.findall(r'offset="(\d+)" size="(\d+)"', xml.read_text())]


def run(model: ov.Model, x: np.ndarray) -> np.ndarray:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def test_aligned_file_gives_the_same_result_and_every_large_constant_is_aligned(tmp_path: Path) -> None:
    model = small_model()
    save_aligned(model, tmp_path / "m.xml")
    places = offsets(tmp_path / "m.xml")
    assert [o % 64 for o, size in places if size >= 64] == [0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    x = np.random.default_rng(1).standard_normal((3, 37), np.float32)
    np.testing.assert_array_equal(run(read_model(tmp_path / "m.xml"), x), run(model, x))


def test_a_file_can_be_saved_over_the_one_it_was_read_from(tmp_path: Path) -> None:
    save_aligned(small_model(), tmp_path / "m.xml")
    save_aligned(read_model(tmp_path / "m.xml"), tmp_path / "m.xml")
    x = np.ones((1, 37), np.float32)
    np.testing.assert_array_equal(run(read_model(tmp_path / "m.xml"), x), run(small_model(), x))


@pytest.mark.parametrize("limit", [20_000, 150_000, 300_000])
def test_full_disk_while_saving_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """RLIMIT_FSIZE stands for the full disk: at once in the first .bin, or late in it."""
    model = small_model(300)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "config.json").write_text("{}")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OutputError, match="free some space"):
            write_model_folder(model, tmp_path / "in", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_complete_folder_with_companions_and_record(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "openvino_tokenizer.xml", "openvino_tokenizer.bin", "1_Pooling/config.json", "model.safetensors", "m.gguf"):
        (source / name).write_text(name)
    model = small_model()
    summary = {"form": "portable", "expected_sparsity": 0.5, "sites": [], "skipped": [], "notes": {"a": 'quote " <&'}}
    rt_info.write_record(model, {"version": 1, "target_sparsity": 0.5}, summary)
    (tmp_path / "out").mkdir()  # empty: may be used
    write_model_folder(model, source, tmp_path / "out")
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert names == ["1_Pooling/config.json", "config.json", "openvino_model.bin", "openvino_model.xml", "openvino_tokenizer.bin",
                     "openvino_tokenizer.xml", "scap_config.json"]  # fmt: skip
    record = rt_info.read_record(read_model(tmp_path / "out"))
    assert record == rt_info.read_record(model)
    assert record is not None
    assert record["summary"]["notes"] == {"a": 'quote " <&'}


def test_a_damaged_model_gets_the_reason_of_openvino(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<net>")
    (tmp_path / "a.bin").write_text("")
    with pytest.raises(BadModelError, match=r"OpenVINO cannot read .*Unable to read the model"):
        read_model(tmp_path / "a.xml")


def test_a_model_without_record_has_none() -> None:
    assert rt_info.read_record(small_model()) is None
