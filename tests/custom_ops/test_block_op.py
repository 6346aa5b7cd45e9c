"""SparseBlock as OpenVINO sees it: shapes, files, levels, and a sentence for every constant and input that it cannot take."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from large_pages import asks_for_large_pages
from openvino import opset13 as ops
from random_blocks import OP, as_op, as_single_ops, feeds_of, packed_block, random_block

from scap_ov import dial
from scap_ov.passes.openvino.sparse_op import creator
from scap_ov.runtime import register
from scap_ov.storage.aligned import save_aligned

BLOCK = random_block("i8", group_size=32)  # K 48, H 96, hidden 160, next 96, 32, 32
CONSTANT, ATTRIBUTES = packed_block(BLOCK)
BYTES = len(CONSTANT)
OFFSETS, ROWS = ATTRIBUTES["offsets"], ATTRIBUTES["packed_rows"]
WITHOUT_NEXT = {"offsets": [*OFFSETS[:3], -1, OFFSETS[4], -1], "packed_rows": [*ROWS[:3], 0], "next_output_sizes": []}


def create(x: ov.Node | None = None, h: ov.Node | None = None, constant: np.ndarray = CONSTANT, **changed: Any) -> ov.Node:
    x = ops.parameter([-1, -1, 48], np.float32) if x is None else x
    h = ops.parameter([-1, -1, 96], np.float32) if h is None else h
    return creator(OP)([x.output(0), h.output(0), ops.constant(constant).output(0)], ATTRIBUTES | changed)


def changed(values: list[int], place: int, value: int) -> list[int]:
    return [value if i == place else own for i, own in enumerate(values)]


def core() -> ov.Core:
    made = ov.Core()
    register(made)
    return made


def outputs_of(model: ov.Model | ov.CompiledModel, feeds: list[np.ndarray]) -> list[np.ndarray]:
    compiled = model if isinstance(model, ov.CompiledModel) else core().compile_model(model, "CPU")
    results = compiled(feeds)
    return [results[i].copy() for i in range(len(compiled.outputs))]


@pytest.mark.parametrize(
    ("x", "h", "shapes"),
    [
        ([-1, 7, 48], [2, -1, 96], ["[2,7,96]", "[2,7,96]", "[2,7,32]", "[2,7,32]"]),
        ([48], [96], ["[96]", "[96]", "[32]", "[32]"]),
        (None, [-1, -1], ["[?,96]", "[?,96]", "[?,32]", "[?,32]"]),
        (None, None, ["[...]"] * 4),
    ],
)
def test_shapes_come_from_what_x_and_h_know(x: list[int] | None, h: list[int] | None, shapes: list[str]) -> None:
    made = [ops.parameter(ov.PartialShape.dynamic() if shape is None else shape, np.float32) for shape in (x, h)]
    op = create(*made)
    assert [str(output.get_partial_shape()) for output in op.outputs()] == shapes
    assert {output.get_element_type() for output in op.outputs()} == {ov.Type.f32}


@pytest.mark.parametrize("x", [np.float32, np.float16])
@pytest.mark.parametrize("h", [np.float32, np.float16])
def test_outputs_have_the_types_of_h_and_x(x: type, h: type) -> None:
    op = create(ops.parameter([-1, -1, 48], x), ops.parameter([-1, -1, 96], h))
    assert [output.get_element_type() for output in op.outputs()] == [ov.Type(np.dtype(h)), *[ov.Type(np.dtype(x))] * 3]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"activation": "relu"}, "activation is 'relu'; give silu, gelu_tanh or gelu_erf"),
        ({"activation": "clamped_swiglu"}, "activation is 'clamped_swiglu'; give silu"),
        ({"eps_1": -1.0}, "eps_1 is -1; give what the norm adds"),
        ({"eps_2": float("nan")}, "eps_2 is "),
        ({"eps_2": float("inf")}, "eps_2 is inf"),
        ({"offsets": OFFSETS[:5]}, "offsets and packed_rows have 5 and 4 entries; give 6 and 4"),
        ({"packed_rows": [*ROWS, 1]}, "offsets and packed_rows have 6 and 5 entries"),
        ({"offsets": changed(OFFSETS, 1, -64)}, f"up has offset -64 in a constant of {BYTES} bytes; give a multiple of 64 inside it"),
        ({"offsets": changed(OFFSETS, 0, 4)}, "o has offset 4 in"),
        ({"offsets": changed(OFFSETS, 2, BYTES)}, f"down has offset {BYTES} in"),
        ({"offsets": changed(OFFSETS, 3, 2**63 - 64)}, "next has offset 9223372036854775744 in"),
        ({"offsets": changed(OFFSETS, 3, -1)}, "next has offset -1 in"),
        ({"offsets": changed(OFFSETS, 4, -1)}, "norm_1 has offset -1 in"),
        ({"offsets": changed(OFFSETS, 5, BYTES - 64)}, "norm_2 has 64 bytes behind its offset; 96 channels take 384"),
        ({"packed_rows": changed(ROWS, 0, 0)}, "o has 0 packed rows of 128 bytes"),
        ({"packed_rows": changed(ROWS, 1, -1)}, "up has -1 packed rows"),
        ({"packed_rows": changed(ROWS, 2, 2**63 - 1)}, "down has 9223372036854775807 packed rows of 128 bytes"),
        ({"packed_rows": changed(ROWS, 3, BYTES // 192)}, "bytes of the constant lie behind its offset"),
        ({"packed_rows": changed(ROWS, 1, ROWS[1] - 1)}, "h has 96 channels and up takes 95; they must be as many"),
        ({"packed_rows": changed(ROWS, 1, ROWS[1] - 40)}, "section up_scale has 1920 bytes; with K = 56 and N = 320 it must have 1280"),
        ({"packed_rows": changed(ROWS, 1, 2)}, "up has 2 rows; its sections alone take"),
        ({"next_output_sizes": []}, f"next has offset {OFFSETS[3]}, but next_output_sizes is empty; give -1, and no packed_rows"),
        (WITHOUT_NEXT | {"packed_rows": ROWS}, "next has offset -1, but next_output_sizes is empty"),
        (WITHOUT_NEXT | {"offsets": changed(OFFSETS, 3, -1)}, "norm_2 has offset"),
        ({"next_output_sizes": [10] * 16}, "next_output_sizes has 16 entries; give at most 15"),
        ({"next_output_sizes": [10] * 17}, "next_output_sizes has 17 entries; give 1 to 16"),
        ({"o_output_sizes": [48, 48]}, "o_output_sizes are [48,48] and down_output_sizes [96]; both must have one entry"),
        ({"o_output_sizes": [95]}, "o_output_sizes are [95] and down_output_sizes [96]"),
        ({"o_output_sizes": [95], "down_output_sizes": [95]}, "h has 95 channels and up takes 96; they must be as many"),
        ({"up_output_sizes": [161, 159]}, "up_output_sizes are [161,159]; give one, or for gate and up two that are the same"),
        ({"up_output_sizes": [320]}, "up gives 320 channels and down takes 160; they must be as many"),
        ({"up_output_sizes": [2**62, 2**62]}, "up_output_sizes holds 4611686018427387904"),
        ({"down_weight_type": "i3"}, "down_weight_type is 'i3'"),
        ({"down_weight_type": "f32"}, "down has "),
        ({"next_rows": "some"}, "next_rows is 'some'; give decode or all"),
        ({"up_max_sparse_rows": 0}, "up_max_sparse_rows is 0"),
        ({"up_sections": [4, 4]}, "up_sections has 2 entries"),
        ({"o_sections": [2**62, 0, 4, 4, 0, 0]}, "section o_scale has 4611686018427387904 bytes"),
        ({"o_ramp": -1.0}, "o_ramp is -1"),
        ({"o_planes": 2}, "o_planes is 2"),
        ({"down_group_size": 0}, "down_group_size is 0"),
        ({"next_levels": [0.5, 0.2]}, "next_levels are 0.5, 0.2; give shares"),
        ({"version": 9}, "SparseBlock is of version 9, this library of scap_ov knows"),
    ],
)
def test_wrong_attributes_are_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(sentence)):
        create(**wrong)


def test_a_missing_eps_is_refused() -> None:
    x, h = (ops.parameter([-1, width], np.float32).output(0) for width in (48, 96))
    rest = {name: value for name, value in ATTRIBUTES.items() if name != "eps_1"}
    with pytest.raises(RuntimeError, match="eps_1 is -1"):
        creator(OP)([x, h, ops.constant(CONSTANT).output(0)], rest)


def test_a_shorter_constant_is_refused() -> None:
    """The last part is norm_2, a multiple of 64 bytes."""
    with pytest.raises(RuntimeError, match="norm_2 has 383 bytes behind its offset"):
        create(constant=CONSTANT[:-1])


@pytest.mark.parametrize("constant", [CONSTANT.reshape(2, -1), CONSTANT.view(np.int8)])
def test_a_constant_of_another_sort_is_refused(constant: np.ndarray) -> None:
    with pytest.raises(RuntimeError, match="it must be a u8 constant of one dimension"):
        create(constant=constant)


@pytest.mark.parametrize(
    ("x", "h", "sentence"),
    [
        (([-1, 49], np.float32), ([-1, 96], np.float32), "x has shape [?,49]; its last dimension must be 48"),
        (([-1, 48], np.float32), ([-1, 48], np.float32), "h has shape [?,48]; its last dimension must be 96"),
        (([-1, 48], np.int32), ([-1, 96], np.float32), "x is i32; convert it to f32 or f16"),
        (([-1, 48], np.float32), ([-1, 96], np.float64), "h is f64; convert it to f32 or f16"),
        (([], np.float32), ([-1, 96], np.float32), "x has shape []"),
        (([2, 48], np.float32), ([3, 96], np.float32), "x has shape [2,48] and h [3,96]; all dimensions but the last must be the same"),
        (([-1, 48], np.float32), ([1, -1, 96], np.float32), "all dimensions but the last must be the same"),
    ],
)
def test_wrong_inputs_are_refused_with_a_sentence(x: tuple[list[int], type], h: tuple[list[int], type], sentence: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(sentence)):
        create(ops.parameter(*x), ops.parameter(*h))


@pytest.mark.parametrize(
    ("place", "tensor", "sentence"),
    [
        (0, np.ones((2, 48), np.int8), "x of type i8; give f32 or f16"),
        (0, np.ones((2, 49), np.float32), "x of shape [2,49]; its last dimension must be 48"),
        (0, np.array(1, np.float32), "its last dimension must be 48"),
        (1, np.ones((3, 96), np.float32), "x of shape [2,48] and h of [3,96]"),
        (1, np.ones((1, 2, 96), np.float32), "x of shape [2,48] and h of [1,2,96]"),
        (2, np.zeros(64, np.uint8), "they were validated with u8["),
        (2, np.zeros(BYTES, np.int8), "they were validated with u8["),
        (3, np.zeros((2, 96), np.float16), "output 0 of type f16; it must be that of h, f32"),
        (6, np.zeros((2, 32), np.float16), "output 3 of type f16; it must be that of x, f32"),
        (None, None, "gives 4 outputs, got 3 and 0"),
    ],
)
def test_evaluate_refuses_tensors_that_were_not_validated(place: int | None, tensor: np.ndarray | None, sentence: str) -> None:
    """Compiled models keep to what was validated; a caller of evaluate need not."""
    op = create(ops.parameter([2, 48], np.float32), ops.parameter([2, 96], np.float32))
    tensors = [np.ones((2, 48), np.float32), np.ones((2, 96), np.float32), CONSTANT]
    tensors += [np.zeros((2, n), np.float32) for n in (96, 96, 32, 32)]
    if place is not None:
        tensors[place] = tensor
    given = [ov.Tensor(array) for array in tensors]
    with pytest.raises(RuntimeError, match=re.escape(sentence)):
        op.evaluate([] if place is None else given[3:], given[:3])


def test_evaluate_runs_after_attributes_were_read() -> None:
    op = create(ops.parameter([2, 48], np.float32), ops.parameter([2, 96], np.float32))
    assert op.get_attributes()["offsets"] == OFFSETS
    feeds = feeds_of(BLOCK, 2)
    outputs = [ov.Tensor(np.zeros((2, n), np.float32)) for n in (96, 96, 32, 32)]
    assert op.evaluate(outputs, [ov.Tensor(array) for array in (*feeds, CONSTANT)])
    expected = outputs_of(as_op(BLOCK), [feed[None] for feed in feeds])
    for y, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(y.data, other[0])


def test_the_constant_may_begin_at_any_byte() -> None:
    """As it does in a file behind others of a few bytes."""
    op = create(ops.parameter([2, 48], np.float32), ops.parameter([2, 96], np.float32))
    feeds, results = feeds_of(BLOCK, 2), []
    for shift in (0, 1):
        constant = np.zeros(BYTES + shift, np.uint8)[shift:]
        constant[:] = CONSTANT
        tensors = [ov.Tensor(np.zeros((2, n), np.float32)) for n in (96, 96, 32, 32)]
        assert op.evaluate(tensors, [*map(ov.Tensor, feeds), ov.Tensor(constant, shared_memory=True)])
        results.append([tensor.data for tensor in tensors])
    for y, other in zip(*results, strict=True):
        np.testing.assert_array_equal(y, other)


@pytest.mark.parametrize("next_sizes", [(96, 32, 32), ()])
def test_files_and_compiled_models_are_read_again(next_sizes: tuple[int, ...], tmp_path: Path) -> None:
    block = random_block("i4", group_size=32, next_sizes=next_sizes)
    feeds = feeds_of(block, 1, 3)
    model = as_op(block)
    expected = outputs_of(model, feeds)
    ov.save_model(model, tmp_path / "block.xml", compress_to_fp16=False)
    assert 'type="SparseBlock" version="scap_ov"' in (tmp_path / "block.xml").read_text()
    again = core().read_model(tmp_path / "block.xml")
    compiled = core().compile_model(again, "CPU")
    imported = core().import_model(compiled.export_model(), "CPU")
    for other in (again, again.clone(), imported):
        for y, want in zip(outputs_of(other, feeds), expected, strict=True):
            np.testing.assert_array_equal(y, want)


@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc are Linux's")
def test_mapped_constants_ask_for_large_pages_before_they_are_read(tmp_path: Path) -> None:
    save_aligned(as_op(random_block("i8", k=576)), tmp_path / "block.xml")
    model = core().read_model(tmp_path / "block.xml")
    assert asks_for_large_pages(tmp_path / "block.bin")
    assert model.inputs


def test_an_attribute_of_a_newer_library_is_refused_by_name(tmp_path: Path) -> None:
    ov.save_model(as_op(BLOCK), tmp_path / "block.xml", compress_to_fp16=False)
    text = (tmp_path / "block.xml").read_text()
    (tmp_path / "block.xml").write_text(text.replace('activation="silu"', 'activation="silu" up_shine="0"'))
    with pytest.raises(RuntimeError, match="SparseBlock has the attribute up_shine, which this library of scap_ov does not know"):
        core().read_model(tmp_path / "block.xml")


def test_levels_are_those_of_single_ops(tmp_path: Path) -> None:
    """Each site has its own thresholds for each level; at level 0 all rows are dense. One dial turns all four."""
    block = random_block("i8", step_group=16, half=0.2, per_channel=True)
    for site in block.sites:
        site.center, site.threshold, site.whole_threshold = (
            np.concatenate([values * factor for factor in (0, 0.5, 1)]).astype(np.float32)
            for values in (site.center, site.threshold, site.whole_threshold)
        )
    names = ("own", "single")
    dials = [{"levels": [0.0, 0.3, 0.5], "start_level": 1, "level_op": i} for i in range(4)]
    block.levels = [own | {"level_model": names[0]} for own in dials]
    one = core().compile_model(as_op(block), "CPU")
    block.levels = [own | {"level_model": names[1], "version": 2} for own in dials]
    single = core().compile_model(as_single_ops(block), "CPU")
    feeds = feeds_of(block, 1, 2)
    seen = []
    for level in (0.3, 0.0, 0.5):
        for name in names:
            dial.set_level(level, model=name)
        seen.append(outputs_of(one, feeds))
        for y, other in zip(seen[-1], outputs_of(single, feeds), strict=True):
            np.testing.assert_allclose(y, other, atol=2e-5 * np.abs(other).max())
    assert all(not np.array_equal(a[1], b[1]) for a, b in ((seen[0], seen[1]), (seen[1], seen[2]), (seen[0], seen[2])))
