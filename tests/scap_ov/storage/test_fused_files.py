"""Lowered models are written with fused blocks, from memory that holds their weights once, and read with an op for every site."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from decode_steps import EXACT, run_steps
from pruned_layers import plan_of
from small_llm import letters, small_llm

import scap_ov
from scap_ov.backends.openvino import rewrite
from scap_ov.passes.openvino.aligned import aligned_constant
from scap_ov.passes.openvino.joined_constant import JoinedConstant
from scap_ov.storage.aligned import save_aligned
from scap_ov.storage.model_folder import read_model

IDS = np.array([letters("A dog ran over the hill.")])


def lowered(**config) -> ov.Model:
    model = small_llm("i8")
    return rewrite(model, plan_of(model, 0.2, lm_head=False, **config), "lowered", {})


def read_plainly(path: Path) -> ov.Model:
    core = ov.Core()
    scap_ov.register(core)
    return core.read_model(path)


def kinds(model: ov.Model) -> set[str]:
    return {node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name().startswith("Sparse")}


def test_a_file_has_fused_blocks_and_is_read_with_an_op_for_every_site(tmp_path):
    model = lowered(dynamic_quantization=False)  # int8 would make a step of what norms round differently
    scap_ov.save_model(model, tmp_path / "m.xml")
    assert kinds(model) == {"SparseMatMul"}
    file = read_plainly(tmp_path / "m.xml")
    assert kinds(file) == {"SparseMatMul", "SparseBlock"}
    assert kinds(read_model(tmp_path / "m.xml")) == {"SparseMatMul"}
    assert kinds(read_model(tmp_path / "m.xml", as_it_runs=True)) == kinds(file)
    fused, plain = (run_steps(ov.Core().compile_model(each, "CPU", EXACT), IDS) for each in (file, model))
    np.testing.assert_allclose(fused, plain, atol=2e-4)


def test_a_model_that_was_read_is_written_as_it_was(tmp_path):
    scap_ov.save_model(lowered(), tmp_path / "m.xml")
    scap_ov.save_model(read_model(tmp_path / "m.xml"), tmp_path / "again.xml")
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "m.bin").read_bytes()
    scap_ov.save_model(read_plainly(tmp_path / "m.xml"), tmp_path / "plainly.xml")
    assert (tmp_path / "plainly.bin").read_bytes() == (tmp_path / "m.bin").read_bytes()


def test_without_fuse_blocks_a_file_has_an_op_for_every_site(tmp_path):
    scap_ov.save_model(lowered(fuse_blocks=False), tmp_path)
    assert kinds(read_plainly(tmp_path / "openvino_model.xml")) == {"SparseMatMul"}
    assert json.loads((tmp_path / "scap_config.json").read_text())["config"]["fuse_blocks"] is False


def test_parts_of_a_constant_begin_at_cache_lines_and_pages():
    arrays = [np.arange(100, dtype=np.uint8), None, np.ones(1 << 20, np.uint8), np.arange(3, dtype=np.float32)]
    joined = JoinedConstant.of(arrays)
    assert joined.starts == (0, -1, 4096, 4096 + (1 << 20))
    whole = np.concatenate(list(joined.pieces()))
    assert joined.size == whole.size
    assert whole.size % 64 == 0
    np.testing.assert_array_equal(whole[:100], arrays[0])
    np.testing.assert_array_equal(whole[joined.starts[3] :][:12].view(np.float32), arrays[3])
    assert not whole[100:4096].any()
    joined.fill()
    np.testing.assert_array_equal(joined.data, whole)


def test_a_file_that_openvino_must_write_itself_has_the_parts_too(tmp_path, monkeypatch):
    model = lowered()
    scap_ov.save_model(model, tmp_path / "own.xml")
    monkeypatch.setattr("scap_ov.storage.aligned._described", lambda *_: None)
    scap_ov.save_model(model, tmp_path / "copied.xml")
    monkeypatch.undo()
    own, copied = (
        run_steps(ov.Core().compile_model(read_plainly(tmp_path / name), "CPU", EXACT), IDS) for name in ("own.xml", "copied.xml")
    )
    np.testing.assert_array_equal(own, copied)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells memory of this process on Linux")
def test_parts_are_not_copied_to_be_written(tmp_path):
    """A constant that is written from its parts takes address space alone."""
    part = np.ones(24 << 20, np.uint8)
    before = _resident()
    joined = JoinedConstant.of([part, part, part])
    constant = aligned_constant(joined.data)
    constant.set_friendly_name("joined")
    x = ov.opset13.parameter([1], np.uint8)
    model = ov.Model([ov.opset13.result(ov.opset13.add(x, constant))], [x], "m")
    save_aligned(model, tmp_path / "m.xml", {"joined": joined})
    assert _resident() - before < part.size
    assert (tmp_path / "m.bin").stat().st_size >= 3 * part.size


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
