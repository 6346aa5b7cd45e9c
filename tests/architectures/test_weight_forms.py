"""What NNCF makes of weights, by everything that `optimum-cli export openvino` can ask of it: pruned, or left stock with the reason."""

from __future__ import annotations

import functools
import json

import nncf
import numpy as np
import openvino as ov
import pytest
from architectures.feeds import answers, compile_exactly, distance, inputs_for, random_ids
from nncf import BackupMode, CompressWeightsMode
from pruned_layers import one_site, plan_of
from weight_forms import FORMS, PER_CHANNEL

from scap_ov.cli.main import main
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.sample_models.random_llm import Shape, build
from scap_ov.storage.rt_info import weight_form

SHAPE = Shape("forms", layers=2, hidden=128, ffn=256, heads=4, kv_heads=2, vocabulary=256)
ROUNDING = 2e-5  # as in test_architectures
GROUPS = (32, 64, 128)
PRUNED = {
    "int8 asymmetric": ({"mode": CompressWeightsMode.INT8_ASYM}, {"u8 g128 zp", "u8 g256 zp"}),
    "int8 symmetric": ({"mode": CompressWeightsMode.INT8_SYM}, {"i8 g128", "i8 g256"}),
    "int4 symmetric, per channel": ({"mode": CompressWeightsMode.INT4_SYM, "group_size": -1}, {"i4 g128", "i4 g256"}),
    "int4 asymmetric, per channel": ({"mode": CompressWeightsMode.INT4_ASYM, "group_size": -1}, {"u4 g128 zp", "u4 g256 zp"}),
    **{f"int4 symmetric, groups of {g}": ({"mode": CompressWeightsMode.INT4_SYM, "group_size": g}, {f"i4 g{g}"}) for g in GROUPS},
    **{f"int4 asymmetric, groups of {g}": ({"mode": CompressWeightsMode.INT4_ASYM, "group_size": g}, {f"u4 g{g} zp"}) for g in GROUPS},
    "int4 and int8 mixed, --ratio 0.6": (
        {"mode": CompressWeightsMode.INT4_ASYM, "group_size": 32, "ratio": 0.6}, {"u4 g32 zp", "u8 g128 zp", "u8 g256 zp"},
    ),
    "int4 and f16 mixed, --backup-precision none": (
        {"mode": CompressWeightsMode.INT4_SYM, "group_size": 64, "ratio": 0.6, "backup_mode": BackupMode.NONE}, {"i4 g64", "f16"},
    ),
    "int4, AWQ": ({"mode": CompressWeightsMode.INT4_SYM, "group_size": 32, "awq": True}, {"i4 g32"}),
    "int4, scale estimation": ({"mode": CompressWeightsMode.INT4_ASYM, "group_size": 32, "scale_estimation": True}, {"u4 g32 zp"}),
    "int4, GPTQ": ({"mode": CompressWeightsMode.INT4_ASYM, "group_size": 32, "gptq": True}, {"u4 g32 zp"}),
}  # fmt: skip
STOCK = {
    "nf4": ({"mode": CompressWeightsMode.NF4, "group_size": 32}, "its weight is nf4, for which there is no kernel"),
    "mxfp4": ({"mode": CompressWeightsMode.MXFP4, "group_size": 32}, "its weight is f4e2m1, for which there is no kernel"),
    "mxfp8": ({"mode": CompressWeightsMode.MXFP8_E4M3, "group_size": 32}, "its weight is f8e4m3, for which there is no kernel"),
    "f8": ({"mode": CompressWeightsMode.FP8_E4M3, "group_size": 32}, "its weight is f8e4m3, for which there is no kernel"),
    "f4": ({"mode": CompressWeightsMode.FP4, "group_size": 32}, "its weight is f4e2m1, for which there is no kernel"),
    "codebook": (
        {"mode": CompressWeightsMode.CB4, "group_size": 32},
        "its weight is looked up in a codebook, for which there is no kernel",
    ),
}
ODD = "sizes that are multiples of nothing (K = 577, N = 1001)"
LAYERS = [  # row of the table, form of tests/weight_forms.py, K, N
    *((name, form, 256, 48) for name in ("f32", "f16", "bf16") for form in FORMS if form.split("-")[0] == name),
    *(("int8 in groups", form, 256, 48) for form in ("i8-g32", "u8-g64-zp")),
    *((ODD, form, 577, 1001) for form in PER_CHANNEL),
]
DATA_AWARE = {"awq", "scale_estimation", "gptq"}


@functools.cache
def compressed(name):
    """The small decoder, compressed."""
    options = dict((PRUNED | STOCK)[name][0])
    model = build(SHAPE, "f16", SHAPE.layers)
    if DATA_AWARE & options.keys():
        options["dataset"] = nncf.Dataset([inputs_for(model, random_ids(1, 16, seed)) for seed in range(4)])
    if "ratio" not in options and "INT8" not in options["mode"].name:
        options |= {
            "ratio": 1.0,
            "all_layers": True,
        }  # NNCF keeps the last layer in int8, for it takes that for lm_head, which is int8 here
    return nncf.compress_weights(model, **options)


def forms(model):
    return {weight_form(layer.weight) for match in find_sites(model).matches for layer in match.site.layers}


@pytest.mark.parametrize(
    ("form", "k", "n"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}", marks=pytest.mark.covers("Weight forms", row)) for row, *case in LAYERS],
)
def test_pruned_layer(form, k, n):
    """Forms that NNCF does not make but other exporters do, and sizes that no model of ours has."""
    built = one_site([form], [n], k)
    x = np.random.default_rng(2).standard_normal((1, 3, k)).astype(np.float32)
    portable_equals_lowered(built.model, x, ROUNDING + built.weights[0].plugin_rounding)


def portable_equals_lowered(stock, x, rounding=ROUNDING):
    """In a model of one layer; and where nothing is dropped both equal the stock one."""
    for threshold, dense in ((-1, True), (0.5, False)):
        portable = InsertSparsity(plan_of(stock, threshold, center=0.05))(stock.clone()).model
        lowered = LowerSparseMatMul(dynamic_quantization=False)(portable.clone())
        assert lowered.skipped == []
        expected, one, two = (np.array(compile_exactly(model)(x)[0]) for model in (stock, portable, lowered.model))
        assert distance(two, one) < rounding
        assert (distance(two, expected) < rounding) == dense


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.covers("Weight forms", name)) for name in PRUNED])
def test_pruned(name):
    stock = compressed(name)
    assert forms(stock) == PRUNED[name][1]
    assert len(find_sites(stock).matches) == 4 * SHAPE.layers
    ids = random_ids(1, 9, 1)
    expected = answers(compile_exactly(stock), ids)
    for threshold, dense in ((-1, True), (0.5, False)):
        portable = InsertSparsity(plan_of(stock, threshold, center=0.05))(stock.clone()).model
        lowered = LowerSparseMatMul(dynamic_quantization=False)(portable.clone())
        assert lowered.skipped == []
        one, two = (answers(compile_exactly(model), ids) for model in (portable, lowered.model))
        assert distance(two, one) < ROUNDING
        assert (distance(two, expected) < ROUNDING) == dense


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.covers("Weight forms", name, no=f"no, because {why}; left stock"))
        for name, (_, why) in STOCK.items()
    ],
)
def test_left_stock(name):
    found = find_sites(compressed(name), lm_head=True)
    blocks = [reason for layer, reason in found.skipped if "layers." in layer]
    assert len(blocks) == 7 * SHAPE.layers
    assert all(STOCK[name][1] in reason for reason in blocks)
    assert [match.site.name for match in found.matches] == ["lm_head"]


@pytest.mark.covers("Weight forms", "int4 with a short last group, as ONNX has it (NNCF refuses to make one)")
def test_a_last_group_that_is_short(tmp_path):
    small = build(Shape("short", layers=1, hidden=80, ffn=128, heads=4, kv_heads=2, vocabulary=256), "f16", 1)
    with pytest.raises(nncf.errors.InvalidGroupSizeError):
        nncf.compress_weights(small, mode=CompressWeightsMode.INT4_SYM, group_size=32, ratio=1.0, all_layers=True)
    stock = ov.Core().read_model(blocked_onnx(tmp_path / "m.onnx", n=24, k=80, group=32))
    assert forms(stock) == {"u4 g32 zp"}
    portable_equals_lowered(stock, np.random.default_rng(0).standard_normal((1, 3, 80)).astype(np.float32))


def blocked_onnx(path, n, k, group):
    """A file with one MatMulNBits, the layer of onnxruntime's int4 models; the last block is filled up."""
    onnx = pytest.importorskip("onnx")
    groups, rng = -(-k // group), np.random.default_rng(1)
    stored = [onnx.numpy_helper.from_array(rng.integers(0, 256, (n, groups, group // 2), np.uint8), "B"),
              onnx.numpy_helper.from_array((rng.random(n * groups) / 40).astype(np.float32), "S")]  # fmt: skip
    node = onnx.helper.make_node("MatMulNBits", ["x", "B", "S"], ["y"], domain="com.microsoft", K=k, N=n, bits=4, block_size=group)
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", "t", size]) for name, size in (("x", k), ("y", n))]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:], stored)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.parametrize("name", STOCK)
def test_inspect_gives_the_reason(name, tmp_path, capsys):
    ov.save_model(compressed(name), tmp_path / "openvino_model.xml")
    assert main(["inspect", str(tmp_path), "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["skipped"]) == 7 * SHAPE.layers
    assert {reason for _, reason in figures["skipped"]} == {STOCK[name][1]}
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped ")]
    assert printed == [f"skipped {layer}: {reason}" for layer, reason in figures["skipped"]]
