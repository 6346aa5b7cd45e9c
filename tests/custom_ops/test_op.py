"""The op as OpenVINO sees it: shapes, and a sentence for every input that it cannot take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from large_pages import asks_for_large_pages
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from scap_ov.custom_ops import library_path
from scap_ov.runtime import register
from scap_ov.storage.aligned import save_aligned

K, SIZES = 32, [40, 24]
ATTRIBUTES: dict[str, Any] = {
    "weight_type": "i8", "group_size": K, "scale_type": "f16", "output_sizes": SIZES, "sections": [128, 0, 4, 4, 0, 0], "rows": "decode",
    "max_sparse_rows": 4, "dynamic_quantization": True,
}  # fmt: skip
PLANES = [128, 0, 4, 4, 0, 0, 64, 64, 8]
ROWS_BEHIND = (128 + 64 + 64) // 64


@pytest.fixture(scope="module")
def create() -> Callable[..., ov.Node]:
    factory = NodeFactory()
    factory.add_extension(str(library_path()))

    def make(x: ov.Node, height: int = K + ROWS_BEHIND, **changed: object) -> ov.Node:
        packed = ops.constant(np.zeros((height, 64), np.uint8))
        return factory.create("SparseMatMul", [x.output(0), packed.output(0)], {**ATTRIBUTES, **changed})

    return make


def x_of(*shape: int, dtype: type = np.float32) -> ov.Node:
    return ops.parameter(list(shape), dtype)


def test_one_output_per_layer_with_the_type_and_shape_of_x(create: Callable[..., ov.Node]) -> None:
    op = create(x_of(-1, 7, K, dtype=np.float16))
    assert [str(output.get_partial_shape()) for output in op.outputs()] == ["[?,7,40]", "[?,7,24]"]
    assert {output.get_element_type() for output in op.outputs()} == {ov.Type.f16}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"weight_type": "i3"}, "weight_type is 'i3'; give one of u4, i4, "),
        ({"rows": "some"}, "rows is 'some'; give decode or all"),
        ({"max_sparse_rows": 0}, "max_sparse_rows is 0"),
        ({"output_sizes": []}, "output_sizes has 0 entries"),
        ({"output_sizes": [40, -24]}, "output_sizes holds -24"),
        ({"output_sizes": [2**62]}, "a layer has at most 1073741824 output channels"),
        ({"output_sizes": [2**63 - 1, 2**63 - 1, 66]}, "output_sizes holds 9223372036854775807"),
        ({"output_sizes": [2**30, 2**30]}, "output_sizes sum up to 2147483648"),
        ({"weight_type": "f32", "output_sizes": [2**62 + 16]}, "a layer has at most"),
        ({"sections": [2**63 - 1, 2**63 - 1, 4, 4, 0, 0]}, "section scale has 9223372036854775807 bytes"),
        ({"sections": [128, -64, 4, 4, 0, 0]}, "section zero_point has -64 bytes"),
        ({"sections": [128, 0, 4]}, "sections has 3 entries"),
        ({"sections": [120, 0, 4, 4, 0, 0]}, "section scale has 120 bytes; with K = 32 and N = 64 it must have 128"),
        ({"sections": [128, 0, 4, 8, 0, 0]}, "section threshold has 8 bytes"),
        ({"group_size": 0}, "group_size is 0"),
        ({"scale_type": "f8"}, "scale_type is 'f8'; give f16 or f32"),
        ({"weight_type": "f32"}, "take rows of 256 bytes"),
        ({"height": 4}, "its sections alone take 4"),
        ({"planes": 2}, "planes is 2; give 0, or 1"),
        ({"planes": 1, "step_group": 16}, "sections has 6 entries; give the bytes of 9"),
        ({"planes": 1, "step_group": 0, "sections": PLANES}, "step_group is 0"),
        ({"planes": 1, "step_group": 16, "sections": PLANES, "weight_type": "i4"}, "planes is 1 with i4 weights; only u8 and i8"),
        ({"planes": 1, "step_group": 16, "sections": PLANES, "height": 2 * K + 8}, "has 65 rows of weights; two planes have as many rows"),
        (
            {"planes": 1, "step_group": 16, "sections": PLANES, "group_size": 64, "height": 2 * K + 9},
            "section step has 64 bytes; with K = 33 and N = 64 it must have 192",
        ),
        ({"planes": 1, "step_group": 12, "sections": PLANES, "group_size": 16, "height": 2 * K + 7}, "it must divide group_size, 16"),
    ],
)
def test_wrong_attributes_are_refused_with_a_sentence(create: Callable[..., ov.Node], changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        create(x_of(1, K), **changed)
    assert sentence in str(refused.value)


def test_wrong_x_is_refused_with_a_sentence(create: Callable[..., ov.Node]) -> None:
    with pytest.raises(RuntimeError, match="its last dimension must be K = 32"):
        create(x_of(1, K + 1))
    with pytest.raises(RuntimeError, match="convert it to f32 or f16"):
        create(x_of(1, K, dtype=np.int32))


@pytest.mark.parametrize(
    ("x", "packed", "outputs", "sentence"),
    [
        (np.ones((2, K), np.int8), None, None, "x of type i8; give f32 or f16"),
        (np.ones((2, K + 1), np.float32), None, None, "its last dimension must be 32"),
        (np.array(1, np.float32), None, None, "its last dimension must be 32"),
        (None, np.zeros((1, 16), np.uint8), None, "it was validated with u8"),
        (None, np.zeros((K + ROWS_BEHIND, 64), np.int8), None, "it was validated with u8"),
        (None, None, [np.zeros((2, 40), np.float16), np.zeros((2, 24), np.float32)], "an output of type f16"),
        (None, None, [], "gives 2 outputs, got 2 and 0"),
    ],
)
def test_evaluate_refuses_tensors_that_were_not_validated(
    create: Callable[..., ov.Node], x: np.ndarray | None, packed: np.ndarray | None, outputs: list[np.ndarray] | None, sentence: str
) -> None:
    """Compiled models keep to what was validated; a caller of evaluate need not."""
    op = create(x_of(2, K))
    x = np.ones((2, K), np.float32) if x is None else x
    packed = np.zeros((K + ROWS_BEHIND, 64), np.uint8) if packed is None else packed
    outputs = [np.zeros((2, size), np.float32) for size in SIZES] if outputs is None else outputs
    with pytest.raises(RuntimeError) as refused:
        op.evaluate([ov.Tensor(y) for y in outputs], [ov.Tensor(x), ov.Tensor(packed)])
    assert sentence in str(refused.value)


def test_evaluate_runs_after_attributes_were_read(create: Callable[..., ov.Node]) -> None:
    op = create(x_of(2, K))
    op.get_attributes()
    outputs = [ov.Tensor(np.full((2, size), 7, np.float32)) for size in SIZES]
    inputs = [np.ones((2, K), np.float32), op.input_value(1).get_node().data]
    assert op.evaluate(outputs, [ov.Tensor(array) for array in inputs])
    assert not any(y.data.any() for y in outputs)


def test_compiled_op_takes_any_number_of_rows(create: Callable[..., ov.Node]) -> None:
    """Zero weights: only the shapes are looked at. No rows at all is a legal batch."""
    x = x_of(-1, -1, K)
    core = ov.Core()
    register(core)
    compiled = core.compile_model(ov.Model(create(x).outputs(), [x]), "CPU")
    for shape in ((1, 1, K), (3, 5, K), (40, 1, K), (0, 1, K)):
        results = compiled(np.ones(shape, np.float32))
        assert [results[i].shape for i in range(2)] == [(*shape[:2], size) for size in SIZES]


@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc are Linux's")
@pytest.mark.parametrize(("k", "n"), [(2560, 2048), (576, 192)])  # 5 MB; 110 KB, a part of such a page
def test_mapped_constants_ask_for_large_pages_before_they_are_read(k: int, n: int, create: Callable[..., ov.Node], tmp_path: Path) -> None:
    x = x_of(-1, k)
    packed = ops.constant(np.ones((k + 3, n), np.uint8))
    factory = NodeFactory()
    factory.add_extension(str(library_path()))
    attributes = {**ATTRIBUTES, "group_size": k, "output_sizes": [n], "sections": [2 * n, 0, 4, 4, 0, 0]}
    op = factory.create("SparseMatMul", [x.output(0), packed.output(0)], attributes)
    save_aligned(ov.Model([op], [x]), tmp_path / "large.xml")
    core = ov.Core()
    register(core)
    model = core.read_model(tmp_path / "large.xml")
    assert asks_for_large_pages(tmp_path / "large.bin")
    assert core.compile_model(model, "CPU")([np.ones((1, k), np.float32)])
