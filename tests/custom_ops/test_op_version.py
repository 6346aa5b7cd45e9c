"""Model files of a newer library are refused by name: versions of an op, and attributes, that this library does not know."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from random_experts import random_experts, stage_of

from scap_ov.errors import BadModelError
from scap_ov.passes.openvino.experts_op import OP, Experts, build
from scap_ov.passes.openvino.sparse_op import creator
from scap_ov.runtime import register
from scap_ov.storage.model_folder import read_model

GOLDEN = Path(__file__).parent.parent / "golden" / "u4-lowered"


def edited(folder: Path, source: Path, attribute: str) -> Path:
    shutil.copytree(source, folder, dirs_exist_ok=True)
    xml = folder / "openvino_model.xml"
    text = xml.read_text()
    assert text.count('rows="decode"') == 1
    xml.write_text(text.replace('rows="decode"', f'rows="decode" {attribute}'))
    return folder


@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        ('version="1"', None),
        ('version="5"', "SparseMatMul is of version 5, this library of scap_ov knows"),
        ('version="0"', "SparseMatMul is of version 0"),
        ('shine="0"', "SparseMatMul has the attribute shine, which this library of scap_ov does not know; upgrade scap_ov"),
    ],
)
def test_what_a_newer_library_wrote_is_refused(tmp_path: Path, attribute: str, sentence: str | None) -> None:
    folder = edited(tmp_path, GOLDEN, attribute)
    if sentence is None:
        read_model(folder)
        return
    with pytest.raises(BadModelError, match=sentence):
        read_model(folder)


def test_experts_of_a_newer_library_are_refused() -> None:
    o = random_experts("i8")
    x, ids = ops.parameter([-1, -1, o.x.shape[1]], np.float32), ops.parameter([-1, o.ids.shape[1]], o.ids.dtype.type)
    routing = ops.parameter([-1, o.ids.shape[1]], np.float32)
    stages = stage_of(o.up, o.up_bias), stage_of(o.down, o.down_bias)
    experts = Experts(*stages, o.gate_up, o.activation, o.alpha, o.limit, o.rows, o.max_sparse_rows)

    def create(values: list[ov.Output], attributes: dict[str, object]) -> ov.Node:
        return creator(OP)(values, {**attributes, "version": 9})

    with pytest.raises(RuntimeError, match="SparseExperts is of version 9, this library of scap_ov knows"):
        build(create, x.output(0), ids.output(0), routing.output(0), experts, dynamic_quantization=True)


def test_written_again_a_model_stays_readable(tmp_path: Path) -> None:
    model = read_model(GOLDEN)
    ov.save_model(model, tmp_path / "openvino_model.xml")
    layer = next(line for line in (tmp_path / "openvino_model.xml").read_text().splitlines() if "SparseMatMul" in line)
    assert 'type="SparseMatMul" version="scap_ov"' in layer
    core = ov.Core()
    register(core)
    compiled = core.compile_model(read_model(tmp_path), "CPU")
    assert core.import_model(compiled.export_model(), "CPU").outputs[0].get_any_name() == compiled.outputs[0].get_any_name()
