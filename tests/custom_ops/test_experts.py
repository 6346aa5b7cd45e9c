"""Routed experts against the float64 reference: every implementation, format, activation, number of tokens; and routers of every sort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from experts_reference import ExpertsOperands, sparse_experts
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_library import runnable
from random_experts import random_experts, run
from reference import OFFSETS

from scap_ov.custom_ops.formats import WEIGHT_TYPES
from scap_ov.passes.openvino.experts_op import ACTIVATIONS

RUNNABLE = runnable()


def check(o: ExpertsOperands, implementation: str, threads: int = 1) -> np.ndarray:
    """Run, compare, and print the worst element when it lies too far off."""
    y = run(o, implementation, threads)
    expected, allowed = sparse_experts(o)
    error = np.abs(y.astype(np.float64) - expected)
    if error.size:
        token, column = np.unravel_index(np.argmax(error / allowed), error.shape)
        assert (error <= allowed).all(), (
            f"{implementation}: y[{token}, {column}] = {y[token, column]}, expected {expected[token, column]}, "
            f"error {error[token, column]:.3g} > {allowed[token, column]:.3g}; {(error > allowed).sum()} of {error.size} too far"
        )
    assert np.isfinite(y).all()
    return y


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@pytest.mark.parametrize("quantize", [False, True])
def test_formats(implementation: str, weight_type: str, quantize: bool) -> None:
    """A token, a few that share experts, a prompt with more than eight rows for an expert; pruned and not; groups and channels."""
    if quantize and weight_type not in OFFSETS:
        pytest.skip("float weights are not multiplied by int8")
    for number, (tokens, group_size, sparsity) in enumerate(
        [(1, 32, 0.5), (1, None, None), (3, 16, 0.7), (4, 32, None), (7, 24, 0.5), (40, 32, 0.5)]
    ):
        o = random_experts(weight_type, tokens=tokens, group_size=group_size, sparsity=sparsity, seed=number, bias=number % 2 == 0,
                           dynamic_quantization=quantize, rows=("decode", "all")[number % 2])  # fmt: skip
        check(o, implementation, threads=1 + number % 2)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["u8", "i8"])
@pytest.mark.parametrize("quantize", [False, True])
def test_experts_in_planes_are_read_by_grades(implementation: str, weight_type: str, quantize: bool) -> None:
    cases = [(1, None, "decode", 4), (3, 32, "decode", 1), (4, 32, "decode", 7), (40, 32, "decode", 4), (40, None, "all", 3)]
    for number, (tokens, group_size, rows, experts) in enumerate(cases):
        o = random_experts(weight_type, tokens=tokens, experts=experts, choices=min(2, experts), group_size=group_size, step_group=16,
                           seed=number, dynamic_quantization=quantize, rows=rows)  # fmt: skip
        y = check(o, implementation, 1)
        for threads in (2, 5):
            np.testing.assert_array_equal(run(o, implementation, threads), y)
        o.up[0].whole_threshold = o.down[0].whole_threshold = None
        assert (rows == "all" or tokens <= o.max_sparse_rows) == (not np.array_equal(check(o, implementation), y))


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gate_up", ["halves", "interleaved"])
def test_activations(implementation: str, activation: str, gate_up: str) -> None:
    o = random_experts(
        "f32", tokens=2, hidden=301, sparsity=None, bias=True, activation=activation, gate_up=gate_up, alpha=1.702, limit=1.5
    )
    o.up_bias *= 3  # into the flat ends and past the limit
    check(o, implementation)


@pytest.mark.parametrize("implementation", RUNNABLE)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_operands(implementation: str, data: st.DataObject) -> None:
    experts, weight_type = data.draw(st.integers(1, 6)), data.draw(st.sampled_from(WEIGHT_TYPES))
    step_group = data.draw(st.sampled_from([None, 4, 16])) if weight_type in ("u8", "i8") else None  # two planes of nibbles
    o = random_experts(
        weight_type,
        step_group=step_group,
        tokens=data.draw(st.integers(0, 24)),
        experts=experts,
        choices=data.draw(st.integers(1, experts)),
        k=data.draw(st.integers(1, 200)),
        hidden=data.draw(st.integers(1, 150)),
        n=data.draw(st.integers(1, 150)),
        group_size=data.draw(st.sampled_from([None, 4, 32, 64] if step_group is None else [None, 32, 64])),
        sparsity=data.draw(st.one_of(st.none(), st.floats(0, 1))),
        seed=data.draw(st.integers(0, 2**32)),
        bias=data.draw(st.booleans()),
        x_dtype=data.draw(st.sampled_from([np.float16, np.float32])),
        activation=data.draw(st.sampled_from(ACTIVATIONS)),
        gate_up=data.draw(st.sampled_from(["halves", "interleaved"])),
        alpha=1.702,
        limit=7.0,
        rows=data.draw(st.sampled_from(["decode", "all"])),
        max_sparse_rows=data.draw(st.integers(1, 12)),
        positions=data.draw(st.integers(1, 3)),
        dynamic_quantization=data.draw(st.booleans()),
    )
    if data.draw(st.booleans()):
        o.ids = o.ids.astype(np.int32)
    check(o, implementation, data.draw(st.integers(1, 3)))


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("tokens", [1, 5, 30])
def test_routers_of_every_sort(implementation: str, tokens: int) -> None:
    """All tokens to one expert, to all experts, one expert twice, one expert there is, experts without tokens."""
    for experts, choices in ((1, 1), (5, 1), (5, 5), (3, 2)):
        check(random_experts("i8", tokens=tokens, experts=experts, choices=choices, dynamic_quantization=True), implementation, 2)
    o = random_experts("i4", tokens=tokens, experts=5, choices=2, dynamic_quantization=True)
    for ids in ([3, 3], [4, 0]):
        o.ids[:] = ids
        check(o, implementation, 2)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("tokens", [0, 1, 30])
def test_no_tokens_and_no_choices(implementation: str, tokens: int) -> None:
    o = random_experts("i8", tokens=tokens, choices=0)
    np.testing.assert_array_equal(run(o, implementation), np.zeros((tokens, 80), np.float32))


@pytest.mark.parametrize("bad", [-1, 4, 2**40])
def test_an_id_that_is_no_expert_is_refused(bad: int) -> None:
    o = random_experts("i8", tokens=3)
    o.ids[1, 1] = bad
    with pytest.raises(RuntimeError, match=f"expert {bad} was chosen for token 1; there are 4, numbered from 0"):
        run(o, RUNNABLE[0])


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["i4", "i8", "f16"])
@pytest.mark.parametrize("tokens", [1, 6, 50])
def test_bits_do_not_depend_on_threads(implementation: str, weight_type: str, tokens: int) -> None:
    shape = {"k": 100, "hidden": 150} if implementation == "scalar" else {"k": 600, "hidden": 700}
    count = -(-tokens // 2) if implementation == "scalar" else tokens
    o = random_experts(
        weight_type, tokens=count, experts=8, choices=3, n=300, group_size=50, dynamic_quantization=True, max_sparse_rows=8, **shape
    )
    one = run(o, implementation, 1)
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(run(o, implementation, threads), one)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("tokens", [1, 3, 30])
def test_nan_and_infinity_reach_their_token_and_no_other(implementation: str, quantize: bool, bad: float, tokens: int) -> None:
    o = random_experts("i8", tokens=tokens, rows="all", dynamic_quantization=quantize)
    o.x[tokens // 2, 70] = bad
    y = run(o, implementation)
    assert not np.isfinite(y[tokens // 2]).any()
    assert np.isfinite(np.delete(y, tokens // 2, axis=0)).all()


@pytest.mark.parametrize("implementation", RUNNABLE)
def test_rows_decode_prunes_few_tokens_and_leaves_many_dense(implementation: str) -> None:
    for tokens, pruned in ((4, True), (5, False), (40, False)):
        o = random_experts("i8", tokens=tokens, max_sparse_rows=4)
        dense = random_experts("i8", tokens=tokens, max_sparse_rows=0)
        assert pruned == (not np.array_equal(check(o, implementation), check(dense, implementation)))


def test_working_memory_of_a_prompt_is_kept_until_a_step_of_few_tokens() -> None:
    """Its layers would have the system clear 33 MB anew for each."""

    def resident() -> int:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["RssAnon"].split()[0]) << 10

    many = random_experts("u8", tokens=512, experts=8, choices=8, k=32, hidden=32, n=2048, dynamic_quantization=True)
    few = random_experts("u8", tokens=1, k=32, hidden=32)
    for o in (many, few):  # code, threads and small buffers are there then
        run(o, RUNNABLE[0], 2)
    before = resident()
    run(many, RUNNABLE[0], 2)
    assert resident() - before > 30e6
    run(few, RUNNABLE[0], 2)
    assert resident() - before < 10e6
