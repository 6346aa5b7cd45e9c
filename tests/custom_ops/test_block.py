"""A block against float64 numpy and against the same of single ops: every form of weights, numbers of rows, parts that are absent."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from random_blocks import Block, as_op, as_single_ops, expected, feeds_of, random_block

from scap_ov.runtime import register

ROWS = (1, 3, 5, 40)  # pruned; pruned, of two positions and more; dense, through the GEMV; through the GEMM
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
FORMS: dict[str, dict[str, Any]] = {
    "i4": {"weight_type": "i4", "group_size": 32},
    "u4": {"weight_type": "u4", "group_size": 16},
    "i8": {"weight_type": "i8"},
    "planes": {"weight_type": "i8", "step_group": 16, "half": 0.3},
    "f16": {"weight_type": "f16"},
}


def compiled(model: ov.Model, threads: int = 1) -> ov.CompiledModel:
    core = ov.Core()
    register(core)
    return core.compile_model(model, "CPU", F32 | {"INFERENCE_NUM_THREADS": threads})


def run(model: ov.CompiledModel, feeds: list[np.ndarray]) -> list[np.ndarray]:
    results = model(feeds)
    return [results[i].copy() for i in range(len(model.outputs))]


def compare(outputs: list[np.ndarray], others: list[np.ndarray], tolerance: float) -> None:
    assert [y.shape for y in outputs] == [y.shape for y in others]
    for number, (y, other) in enumerate(zip(outputs, others, strict=True)):
        error = np.abs(y - other).max() / max(np.abs(other).max(), 1e-3)
        assert error < tolerance, f"output {number} of {len(outputs)} is {error:.3g} of its largest value off"


def check(block: Block, tolerance: float = 2e-5) -> None:
    own, single = compiled(as_op(block)), compiled(as_single_ops(block))
    for rows in ROWS:
        feeds = feeds_of(block, 1, rows)
        outputs = run(own, feeds)
        compare(outputs, expected(block, *feeds), tolerance)
        compare(outputs, run(single, feeds), tolerance)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pruned", [False, True])
def test_forms_of_weights(form: str, pruned: bool) -> None:
    site = {"half": None} | FORMS[form]
    if not pruned:
        site |= {"sparsity": None, "half": None}
    check(random_block(**site, max_sparse_rows=4))


@pytest.mark.parametrize("form", ["i4", "i8", "planes"])
def test_quantized_activations(form: str) -> None:
    """One of 127 steps of the largest value in a group, at each of four products."""
    check(random_block(**FORMS[form], max_sparse_rows=4, dynamic_quantization=True), 0.05)


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh", "gelu_erf"])
@pytest.mark.parametrize("gated", [False, True])
def test_activations_with_and_without_a_gate(activation: str, gated: bool) -> None:
    check(random_block("f16", activation=activation, gated=gated, hidden=301))


@pytest.mark.parametrize("next_sizes", [(), (40,), (32,) * 15])
def test_without_next_and_with_few_and_many_outputs_of_it(next_sizes: tuple[int, ...]) -> None:
    block = random_block("i8", next_sizes=next_sizes)
    check(block)
    assert len(as_op(block).outputs) == 1 + len(next_sizes)


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_what_is_added_to_pruned_rows_and_channels_that_fill_no_vector(rows: str) -> None:
    """With rows = all, the first position stays dense."""
    check(random_block("i4", k=33, h=75, hidden=101, next_sizes=(7, 1), group_size=16, rows=rows, per_channel=True, added=True, ramp=0.5))


@pytest.mark.parametrize("form", ["i4", "i8", "planes", "f16"])
def test_bits_depend_neither_on_threads_nor_on_how_rows_are_split(form: str) -> None:
    block = random_block(**FORMS[form], k=192, h=256, hidden=512, max_sparse_rows=4, dynamic_quantization=True)
    one, two = (compiled(as_op(block), threads) for threads in (1, 2))
    for shape in ((1, 1), (1, 4), (3, 2), (1, 40), (8, 5)):
        feeds = feeds_of(block, *shape)
        outputs = run(one, feeds)
        for y, other in zip(outputs, run(two, feeds), strict=True):
            np.testing.assert_array_equal(y, other)
        flat = run(one, [feed.reshape(1, -1, feed.shape[-1]) for feed in feeds])
        for y, other in zip(outputs, flat, strict=True):
            np.testing.assert_array_equal(y, other.reshape(y.shape))


@pytest.mark.parametrize("types", [(np.float16, np.float16), (np.float16, np.float32), (np.float32, np.float16)])
@pytest.mark.parametrize("next_sizes", [(96, 33), ()])
def test_half_floats(types: tuple[type, type], next_sizes: tuple[int, ...]) -> None:
    """Rounded where they come in and go out; between that everything is f32."""
    block = random_block("i8", next_sizes=next_sizes, max_sparse_rows=4)
    x, h = (ops.parameter([-1, -1, width], dtype) for width, dtype in zip(block.channels, types, strict=True))
    own, of_floats = compiled(as_op(block, inputs=(x, h))), compiled(as_op(block))
    for rows in ROWS:
        feeds = [feed.astype(dtype) for feed, dtype in zip(feeds_of(block, 1, rows), types, strict=True)]
        outputs = run(own, feeds)
        wide = run(of_floats, [feed.astype(np.float32) for feed in feeds])
        for number, (y, other) in enumerate(zip(outputs, wide, strict=True)):
            np.testing.assert_array_equal(y, other.astype(types[number == 0]))


def test_a_plugin_that_computes_in_half_floats_takes_it() -> None:
    block = random_block("i8")
    feeds = feeds_of(block, 1, 3)
    core = ov.Core()
    register(core)
    half = core.compile_model(as_op(block), "CPU", {"INFERENCE_PRECISION_HINT": "f16"})
    compare(run(half, feeds), expected(block, *feeds), 0.02)


def test_no_rows() -> None:
    block = random_block("i8")
    assert [y.shape for y in run(compiled(as_op(block)), feeds_of(block, 0, 1))] == [(0, 1, 96), (0, 1, 96), (0, 1, 32), (0, 1, 32)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rows", [3, 40])
def test_nan_and_infinity_stay_in_their_row(bad: float, rows: int) -> None:
    block = random_block("i8", dynamic_quantization=True)
    x, h = feeds_of(block, 1, rows)
    h[0, 1, 5] = bad
    for y in run(compiled(as_op(block)), [x, h]):
        assert not np.isfinite(y[0, 1]).all()
        assert np.isfinite(np.delete(y, 1, axis=1)).all()


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_a_long_prompt_is_computed_in_parts_and_by_position(rows: str) -> None:
    """1,300 rows are two parts of 650; with `all`, only the first of all is exempt."""
    block = random_block(**FORMS["i4"], rows=rows)
    feeds = feeds_of(block, 1, 1300)
    compare(run(compiled(as_op(block)), feeds), run(compiled(as_single_ops(block)), feeds), 2e-5)
