"""The ways in which a pruned model is compiled, saved, loaded and run: portable and lowered agree in all of them."""

from __future__ import annotations

import functools

import nncf
import numpy as np
import openvino as ov
import pytest
from architectures.feeds import answers, compile_exactly, distance, first_output, greedy, inputs_for, random_ids
from openvino import opset13 as ops
from pruned_layers import plan_of

import scap_ov
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.sample_models.random_llm import Shape, build

SHAPE = Shape("forms", layers=2, hidden=64, ffn=128, heads=4, kv_heads=2, vocabulary=256)
ROUNDING = 2e-5  # as in test_architectures


@functools.cache
def stock():
    return build(SHAPE, "i4_g32", SHAPE.layers)


@functools.cache
def pruned(rows="decode"):
    """(portable, lowered); nobody changes them."""
    portable = InsertSparsity(plan_of(stock(), 0.5, center=0.05, rows=rows, compensation=lambda n: 0.01 * np.ones(n)))(
        stock().clone()
    ).model
    return portable, LowerSparseMatMul(dynamic_quantization=False)(portable.clone()).model


def check(portable, lowered, ids, *, tolerance=ROUNDING, **properties):
    one, two = (answers(compile_exactly(model, **properties), ids) for model in (portable, lowered))
    assert distance(two, one) < tolerance
    return two


@pytest.mark.covers("Model forms", "stateful, batches of 1 to 5")
@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_stateful_in_batches(rows, batch):
    """With three sequences a step of one token has three rows, which are pruned; with five it is dense."""
    check(*pruned(rows), random_ids(batch, 9, batch))


@pytest.mark.covers("Model forms", "prompts of a few tokens")
@pytest.mark.parametrize("length", [1, 4, 5])
def test_prompts_of_few_tokens(length):
    check(*pruned(), random_ids(1, length + 3, length))


def without_past(model):
    """The past as inputs and outputs instead of state, as `optimum-cli … --disable-stateful` has it."""
    from openvino._offline_transformations import stateful_to_stateless_transformation

    stateless = model.clone()
    stateful_to_stateless_transformation(stateless)
    return stateless


@pytest.mark.covers("Model forms", "stateless (past as inputs and outputs)")
@pytest.mark.parametrize("rows", ["decode", "all"])
def test_stateless(rows):
    portable, lowered = (without_past(model) for model in pruned(rows))
    assert not any("ReadValue" in node.get_type_name() for node in lowered.get_ops())
    ids = random_ids(1, 6, 3)
    one, two = (run_stateless(compile_exactly(model), ids) for model in (portable, lowered))
    assert distance(two, one) < ROUNDING
    assert distance(two, answers(compile_exactly(pruned(rows)[1]), ids, decode=5)) < ROUNDING


def run_stateless(compiled, ids):
    past = {
        port: np.zeros((1, SHAPE.kv_heads, 0, SHAPE.head), np.float32)
        for port in compiled.inputs
        if port.partial_shape.rank.get_length() == 4
    }
    parts = []
    for i in range(ids.shape[1]):
        known = {"input_ids": ids[:, i : i + 1], "attention_mask": np.ones((1, i + 1), np.int64), "position_ids": np.array([[i]]),
                 "beam_idx": np.zeros(1, np.int32)}  # fmt: skip
        feeds = {port: known[port.get_any_name()] for port in compiled.inputs if port.get_any_name() in known}
        result = compiled(feeds | past)
        parts.append(np.array(result[0]))
        past = dict(zip(past, [np.array(result[j]) for j in range(1, len(compiled.outputs))], strict=True))
    return np.concatenate(parts, 1)


@pytest.mark.covers("Model forms", "stateless (past as inputs and outputs)")
def test_inserted_and_lowered_after_the_past_was_made_explicit():
    plain = without_past(stock())
    portable = InsertSparsity(plan_of(plain, 0.5, center=0.05))(plain.clone()).model
    lowered = LowerSparseMatMul(dynamic_quantization=False)(portable.clone())
    assert lowered.skipped == []
    ids = random_ids(1, 5, 3)
    one, two = (run_stateless(compile_exactly(model), ids) for model in (portable, lowered.model))
    assert distance(two, one) < ROUNDING


def static(model, tokens):
    """A model of one shape."""
    fixed = model.clone()
    fixed.reshape({"input_ids": [1, tokens], "attention_mask": [1, tokens], "position_ids": [1, tokens], "beam_idx": [1]})
    return fixed


@pytest.mark.covers("Model forms", "static shapes")
@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("tokens", [1, 3, 8])
def test_static_shapes(tokens, rows):
    ids = random_ids(1, tokens, 4)
    one, two = (first_output(compile_exactly(static(model, tokens))(inputs_for(model, ids))) for model in pruned(rows))
    assert distance(two, one) < ROUNDING
    # and the passes on a model that is static already
    plain = static(stock(), tokens)
    portable = InsertSparsity(plan_of(plain, 0.5, center=0.05, rows=rows, compensation=lambda n: 0.01 * np.ones(n)))(plain).model
    lowered = LowerSparseMatMul(dynamic_quantization=False)(portable.clone())
    assert lowered.skipped == []
    for model in (portable, lowered.model):
        assert distance(first_output(compile_exactly(model)(inputs_for(model, ids))), one) < ROUNDING


@pytest.mark.covers("Model forms", "bf16 and f16 inference precision hints")
@pytest.mark.parametrize("hint", ["bf16", "f16"])
def test_inference_precision_hints(hint):
    """Roundings of the narrow type move entries over the threshold, differently in the two forms, so only the size of the error is checked:
    each form is as far from its own float32 answers as the stock model is from its own, within a factor."""
    ids = random_ids(1, 9, 5)
    errors = []
    for model in (stock(), *pruned()):
        exact, narrow = (answers(compile_exactly(model, INFERENCE_PRECISION_HINT=p), ids) for p in ("f32", hint))
        assert np.isfinite(narrow).all()
        errors.append(distance(narrow, exact))
    assert errors[0] < 0.05
    assert max(errors[1:]) <= 4 * errors[0] + ROUNDING


@pytest.mark.covers("Model forms", "beam search")
def test_beam_search():
    """beam_idx moves the past from one sequence to another between steps."""
    ids, order = random_ids(3, 6, 6), np.array([2, 0, 0], np.int32)
    one, two = (run_beams(compile_exactly(model), ids, order) for model in pruned())
    assert distance(two, one) < ROUNDING
    kept = run_beams(compile_exactly(pruned()[1]), ids, np.arange(3, dtype=np.int32))
    assert distance(kept, two) > 1e-2


def run_beams(compiled, ids, order):
    request = compiled.create_infer_request()
    request.infer(inputs_for(compiled, ids[:, :5]))
    return first_output(request.infer(inputs_for(compiled, ids[:, 5:], 5) | {"beam_idx": order}))


@pytest.mark.covers("Model forms", "several infer requests and streams")
@pytest.mark.parametrize("properties", [{}, {"NUM_STREAMS": 2}, {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}], ids=str)
def test_several_requests_at_once(properties):
    """Requests share weights, not state: together they give what each gives alone, bit for bit."""
    compiled = compile_exactly(pruned()[1], **properties)
    prompts = [random_ids(1, 7 + i, i) for i in range(4)]
    alone = [first_output(compiled.create_infer_request().infer(inputs_for(compiled, ids))) for ids in prompts]
    requests = [compiled.create_infer_request() for _ in prompts]
    for request, ids in zip(requests, prompts, strict=True):
        request.start_async(inputs_for(compiled, ids))
    for request, expected in zip(requests, alone, strict=True):
        request.wait()
        np.testing.assert_array_equal(request.get_output_tensor(0).data, expected)


@pytest.mark.covers("Model forms", "one thread or several")
def test_the_number_of_threads_does_not_matter():
    ids = random_ids(1, 9, 7)
    one, two = (answers(compile_exactly(pruned()[1], INFERENCE_NUM_THREADS=threads), ids) for threads in (1, 2))
    # attention and norms of the plugin may sum in another order; the op does not (tests/custom_ops/test_threads.py)
    assert distance(two, one) < ROUNDING


@pytest.mark.covers("Model forms", "CACHE_DIR")
@pytest.mark.parametrize("form", [0, 1], ids=["portable", "lowered"])
def test_cache_dir(form, tmp_path):
    model, ids = pruned()[form], random_ids(1, 9, 8)
    expected = answers(compile_exactly(model), ids)
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    for expect_cached in (False, True):
        core = ov.Core()
        scap_ov.register(core)
        compiled = core.compile_model(tmp_path / "m.xml", "CPU", {**exact(), "CACHE_DIR": str(tmp_path / "cache")})
        assert compiled.get_property("LOADED_FROM_CACHE") is expect_cached
        np.testing.assert_array_equal(answers(compiled, ids), expected)


@pytest.mark.covers("Model forms", "export_model, import_model")
@pytest.mark.parametrize("form", [0, 1], ids=["portable", "lowered"])
def test_import_model(form):
    compiled, ids = compile_exactly(pruned()[form]), random_ids(1, 9, 9)
    expected = answers(compiled, ids)
    core = ov.Core()
    scap_ov.register(core)
    again = core.import_model(compiled.export_model(), "CPU", exact())
    np.testing.assert_array_equal(answers(again, ids), expected)


def exact():
    from decode_steps import EXACT

    return EXACT


@pytest.mark.covers("Model forms", "LoRA adapter, merged before the export")
def test_merged_adapter():
    """W + B·A is a weight like any other; a profile or plan of the model before the merge is refused."""
    base = build(SHAPE, "f16", SHAPE.layers)
    plain, merged = (compress_weights(model) for model in (base, with_adapter(base.clone())))
    plan = plan_of(merged, 0.5, center=0.05, dynamic_quantization=False)
    portable, lowered = (scap_ov.apply(merged, plan, form=form) for form in ("portable", "lowered"))
    ids = random_ids(1, 9, 10)
    assert distance(check(portable, lowered, ids), answers(compile_exactly(merged), ids)) > 1e-2
    with pytest.raises(scap_ov.errors.MismatchError):
        scap_ov.apply(plain, plan)


def with_adapter(model, rank=4):
    """A product of two thin matrices added to every weight of the blocks, in place."""
    rng = np.random.default_rng(0)
    for match in find_sites(model).matches:
        for weight in match.weights:
            update = rng.standard_normal((weight.n, rank)) @ rng.standard_normal((rank, weight.k)) / (4 * rank * weight.k**0.5)
            merged = ops.constant((weight.dequantized() + update).astype(np.float16))
            for reader in weight.constant.output(0).get_target_inputs():
                reader.replace_source_output(merged.output(0))
    model.validate_nodes_and_infer_types()
    return model


def compress_weights(model):
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=32, ratio=1.0, all_layers=True)


@pytest.mark.covers("Model forms", "paged attention")
def test_paged_attention():
    """The graph that openvino-genai makes for continuous batching: tokens of all requests are rows of one tensor [T, 1, K]."""
    from openvino._offline_transformations import paged_attention_transformation

    for model in pruned():
        paged = model.clone()
        paged_attention_transformation(paged)
        kinds = [node.get_type_name() for node in paged.get_ops()]
        assert "PagedAttentionExtension" in kinds
        assert kinds.count("SparseMatMul") == [node.get_type_name() for node in model.get_ops()].count("SparseMatMul")


@pytest.mark.covers("Model forms", "greedy generation")
def test_greedy_generation():
    one, two = (greedy(compile_exactly(model), random_ids(1, 6, 2), 20) for model in pruned())
    assert one == two
