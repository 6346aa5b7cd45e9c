"""Writing straight from memory gives the file that copying what OpenVINO wrote gives, byte for byte."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.errors import OutputError
from scap_ov.storage import aligned
from scap_ov.storage.aligned import save_aligned


def every_kind() -> ov.Model:
    """Equal constants, odd sizes, 4-bit and narrow types, a scalar, names that .xml must escape."""
    rng = np.random.default_rng(0)
    x = ops.parameter([2, 64], np.float32, name="x")
    weight = rng.standard_normal((64, 64)).astype(np.float32)
    y = ops.matmul(ops.matmul(x, ops.constant(weight), False, False), ops.constant(weight.copy()), False, False)
    y = ops.add(y, ops.convert(ops.constant(np.arange(64, dtype=np.uint8)), np.float32))
    for kind, shape in ((ov.Type.u4, [1, 64]), (ov.Type.i4, [2, 1]), (ov.Type.bf16, [1, 64]), (ov.Type.f16, [])):
        tensor = ov.Tensor(kind, ov.Shape(shape))
        raw = tensor.data.reshape(-1).view(np.uint8)
        raw[:] = rng.integers(0, 60, raw.size, np.uint8)
        constant = ov.op.Constant(tensor)
        constant.set_friendly_name(f'{kind}/"<a>&b"')
        y = ops.add(y, ops.convert(constant, np.float32))
    return ov.Model([ops.result(ops.add(y, ops.constant(np.float32(3))))], [x], "m")


def with_branches() -> ov.Model:
    x = ops.parameter([2, 8], np.float32, name="x")
    branch = ops.if_op(ops.constant(np.array(True)))
    bodies = []
    for value in (1, 2):
        inner = ops.parameter([2, 8], np.float32)
        bodies.append(ov.Model([ops.result(ops.add(inner, ops.constant(np.full((2, 8), value, np.float32))))], [inner], "body"))
    branch.set_then_body(bodies[0])
    branch.set_else_body(bodies[1])
    branch.set_input(x.output(0), *(body.get_parameters()[0] for body in bodies))
    out = branch.set_output(*(body.get_results()[0] for body in bodies))
    return ov.Model([ops.result(out)], [x], "m")


def test_the_bin_is_the_same_by_either_road_and_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = every_kind()
    written = []
    monkeypatch.setattr(aligned, "_written", lambda *args, way=aligned._written: written.append(1) or way(*args))
    save_aligned(model, tmp_path / "own.xml")
    assert not written
    monkeypatch.setattr(aligned, "_described", lambda *_: None)
    save_aligned(model, tmp_path / "copied.xml")
    assert written
    for suffix in (".bin", ".xml"):
        assert (tmp_path / f"own{suffix}").read_bytes() == (tmp_path / f"copied{suffix}").read_bytes()
    x = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    answers = [ov.Core().compile_model(each, "CPU")(x)[0] for each in (model, ov.Core().read_model(tmp_path / "own.xml"))]
    np.testing.assert_array_equal(*answers)


def test_large_constants_begin_with_a_page(tmp_path: Path) -> None:
    x = ops.parameter([1, 512], np.float32, name="x")
    y = ops.matmul(ops.add(x, ops.constant(np.ones(512, np.float32))), ops.constant(np.ones((512, 512), np.float32)), False, False)
    y = ops.matmul(ops.add(y, ops.constant(np.zeros(512, np.float32))), ops.constant(np.zeros((512, 512), np.float32)), False, False)
    save_aligned(ov.Model([ops.result(y)], [x], "m"), tmp_path / "m.xml")
    places = [(int(size), int(offset)) for _, offset, size in aligned._CONSTANT.findall((tmp_path / "m.xml").read_text())]
    assert [offset % aligned.PAGE for size, offset in places if size == 1 << 20] == [0, 0]
    assert all(offset % aligned.ALIGNMENT == 0 for size, offset in places if size >= aligned.ALIGNMENT)


def test_constants_in_the_bodies_of_a_branch_are_copied(tmp_path: Path) -> None:
    model = with_branches()
    save_aligned(model, tmp_path / "m.xml")
    x = np.ones((2, 8), np.float32)
    assert (ov.Core().compile_model(ov.Core().read_model(tmp_path / "m.xml"), "CPU")(x)[0] == 2).all()


def test_the_device_that_takes_what_is_not_wanted_survives_a_full_disk(tmp_path: Path) -> None:
    """OpenVINO removes the .bin of an .xml that it could not finish: here a link, never what is behind it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutputError, match="free some space"):
            save_aligned(every_kind(), tmp_path / "m.xml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path(os.devnull).is_char_device()
    assert list(tmp_path.iterdir()) == []
