"""Several levels in one packed constant: each computes what a model of that level alone computes, and can be taken out again."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from expert_blocks import CLAMPED, experts_model, tokens
from level_models import LEVELS, K, levels_model
from pruned_layers import infer, plan_of

import scap_ov
from scap_ov.backends.openvino import rewrite
from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import UsageError
from scap_ov.passes.openvino import sparse_op
from scap_ov.passes.openvino.choose_level import ChooseLevel
from scap_ov.passes.openvino.level_blocks import Blocks, dial_of, joined, levels_in, name_model
from scap_ov.passes.openvino.lowering import raise_

NAMES = itertools.count()


def named(model: ov.Model) -> str:
    """A name of the model's own, so that levels chosen here are no other test's."""
    name = f"levels-{next(NAMES)}"
    name_model(model, name)
    return name


def x_of(*lead: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((*lead, K)).astype(np.float32)


@pytest.mark.parametrize(
    ("form", "graded", "per_channel"), [("i4-g32", False, True), ("u8-zp", True, False), ("i8-g32", True, True), ("f16", False, False)]
)
def test_every_level_is_bit_for_bit_a_model_of_that_level(form, graded, per_channel):
    built, plan, model = levels_model(form, graded=graded, per_channel=per_channel)
    name = named(model)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for level in LEVELS[1:]:
        alone = rewrite(built.model, plan.at(level), "lowered", {})
        scap_ov.set_level(level, name)
        for lead in [(1, 1), (1, 3), (1, 9)]:
            x = x_of(*lead)
            assert all(np.array_equal(a, b) for a, b in zip(compiled(x).values(), infer(alone, [x]), strict=True)), (level, lead)


def test_level_0_is_the_dense_model_bit_for_bit_whatever_the_rows():
    """A step of one row then computes what the op computes for a row that is exempt, as of a long step."""
    built, _, model = levels_model("u8-zp", graded=True, max_sparse_rows=2)
    name = named(model)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = x_of(1, 3)
    scap_ov.set_level(0.5, name)
    dense = [np.array(y) for y in compiled(x).values()]  # more rows than are pruned
    pruned = [np.array(y) for y in compiled(x[:, :1]).values()]
    scap_ov.set_level(0, name)
    single = [np.array(y) for y in compiled(x[:, :1]).values()]
    assert not np.array_equal(single[0], pruned[0])
    assert all(np.allclose(a[:, :1], b, rtol=0, atol=1e-5) for a, b in zip(dense, single, strict=True))
    stock = infer(built.model, [x])
    assert all(np.abs(a - b).max() < 2e-4 * np.abs(b).max() for a, b in zip(dense, stock, strict=True))


def test_the_constant_has_a_block_for_each_level_and_the_attributes_name_them():
    _, _, model = levels_model("i4-g32")
    (node,) = [node for node in model.get_ops() if node.get_type_name() == OP_NAME]
    dial = dial_of(node)
    assert (dial.levels, dial.start, dial.op) == (LEVELS, 2, 0)
    assert node.get_attributes()["version"] == 2
    thresholds = [float(sparse_op.read(node, level)[1].threshold[0]) for level in LEVELS]
    assert thresholds == pytest.approx([-1, 0.3, 0.7])
    assert sparse_op.read(node)[1].threshold == pytest.approx(0.7)  # of the level that it starts with
    with pytest.raises(UsageError, match=r"level 0.3 is not in the model; it has 0, 0.25, 0.5"):
        sparse_op.read(node, 0.3)


@pytest.mark.parametrize("level", LEVELS)
def test_raise_and_choose_take_one_level(level):
    built, plan, model = levels_model("u8-zp", graded=True)
    chosen = ChooseLevel(level)(model.clone())
    assert chosen.modified
    assert levels_in(chosen.model) is None
    assert not ChooseLevel(level)(chosen.model).modified
    portable = raise_(model.clone(), level).model
    x = x_of(1, 2)
    single = infer(rewrite(built.model, plan.at(level), "lowered", {}), [x]) if level else infer(built.model, [x])
    for other in (infer(chosen.model, [x]), infer(portable, [x])):
        assert all(np.abs(a - b).max() < 1e-3 * np.abs(b).max() for a, b in zip(other, single, strict=True))


def test_levels_outlive_a_file_and_a_cached_blob(tmp_path):
    _, _, model = levels_model()
    name = named(model)
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    core = ov.Core()
    scap_ov.register(core)
    core.set_property({"CACHE_DIR": str(tmp_path / "cache"), "INFERENCE_PRECISION_HINT": "f32"})
    x = x_of(1, 1)
    found = []
    for _ in range(2):  # the second one comes from the cache
        compiled = core.compile_model(tmp_path / "m.xml", "CPU")
        scap_ov.set_level(0.25, name)
        found.append(np.array(compiled(x)[0]))
        scap_ov.set_level(0.5, name)
        found.append(np.array(compiled(x)[0]))
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[3])


@pytest.mark.parametrize("biased", [False, True])
def test_routed_experts_have_levels_too(biased):
    built = experts_model("u8", biased=biased, activation=CLAMPED if biased else None)
    plan = plan_of(built.model, 0.4, levels=(0, 0.5), dynamic_quantization=False)
    centred = {name: replace(entry, center=np.full(1, 0.1, np.float32)) for name, entry in plan.entries.items()}
    plan = replace(plan, entries=centred, levels={0.0: {}, 0.5: centred})
    model = rewrite(built.model, plan, "lowered", {})
    name = named(model)
    alone = rewrite(built.model, plan.at(0.5), "lowered", {})
    inputs = tokens(1, 3)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {}
    for level in (0, 0.5):
        scap_ov.set_level(level, name)
        found[level] = np.array(compiled(inputs)[0])
    assert np.array_equal(found[0.5], infer(alone, inputs)[0])
    expected = built.answer(*inputs)[0]
    assert np.abs(found[0].reshape(expected.shape) - expected).max() < 1e-5 * np.abs(expected).max()
    assert not np.array_equal(found[0], found[0.5])
    again = raise_(model.clone(), 0.5).model
    assert np.abs(infer(again, inputs)[0] - found[0.5]).max() < 1e-5 * np.abs(expected).max()


def test_blocks_of_unequal_size_are_filled_up():
    one, three, none = (np.array(v, np.float32) for v in ([2.0], [1.0, 2.0, 3.0], []))
    assert joined([one, three, none], -1.0).tolist() == [2, 2, 2, 1, 2, 3, -1, -1, -1]
    assert joined([none, none], 0.0).size == 0
    assert Blocks(3, 1)(joined([one, three, none], -1.0)).tolist() == [1, 2, 3]


def test_portable_and_onnx_forms_refuse_levels():
    built, plan, _ = levels_model()
    with pytest.raises(UsageError, match="holds one level"):
        rewrite(built.model, plan, "portable", {})
