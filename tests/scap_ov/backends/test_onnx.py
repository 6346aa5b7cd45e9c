"""The public verbs on ONNX models: kinds in and out, files, external data, and bad input."""

from __future__ import annotations

import json

import nncf
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_graphs import FORMS, K, OnnxGraphBuilder
from small_onnx import as_ir, small_decoder, token_data

import scap_ov
from scap_ov.backends import onnx as backend
from scap_ov.calibration.run_onnx import observe
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadDatasetError, BadModelError, MismatchError, OutputError, UsageError
from scap_ov.models import onnx_model, onnx_session
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.storage.destination import destination

CONFIG = SparsityConfig(method="scap", drift_correction=False)


@pytest.fixture(scope="module")
def profile():
    return observe(open_onnx(small_decoder()), token_data())


def outputs(model, length=3):
    rng = np.random.default_rng(5)
    inputs = {
        "input_ids": rng.integers(0, 256, (1, length)),
        "attention_mask": np.ones((1, length)),
        "position_ids": np.arange(length)[None],
    }
    inputs |= {f"past_key_values.{i}.{part}": np.zeros((1, 2, 0, 16)) for i in range(2) for part in ("key", "value")}
    return OnnxSession(open_onnx(model)).run(inputs)


def test_a_proto_gives_a_proto_and_stays_as_it_is():
    proto = small_decoder()
    before = proto.SerializeToString(deterministic=True)
    sparse = scap_ov.apply(proto, token_data(), CONFIG)
    assert isinstance(sparse, onnx.ModelProto)
    onnx.checker.check_model(sparse)
    assert proto.SerializeToString(deterministic=True) == before
    stock, pruned = outputs(proto), outputs(sparse)
    assert list(stock) == list(pruned)
    assert not np.allclose(stock["logits"], pruned["logits"], atol=1e-3)


def test_a_path_gives_a_proto(tmp_path, profile):
    onnx.save(small_decoder(), tmp_path / "m.onnx")
    sparse = scap_ov.apply(tmp_path / "m.onnx", profile, CONFIG)
    assert isinstance(sparse, onnx.ModelProto)
    np.testing.assert_array_equal(outputs(sparse)["logits"], outputs(scap_ov.apply(small_decoder(), profile, CONFIG))["logits"])


def test_forms_differ_in_boxes_only(profile):
    inline = scap_ov.apply(small_decoder(), profile, CONFIG)
    boxes = scap_ov.apply(small_decoder(), profile, CONFIG, form="function")
    assert not inline.functions
    assert len([node for node in boxes.graph.node if node.domain == "scap_ov"]) == 8
    np.testing.assert_array_equal(outputs(inline)["logits"], outputs(boxes)["logits"])
    with pytest.raises(UsageError, match="give one of lowered, portable, function"):
        scap_ov.apply(small_decoder(), profile, CONFIG, form="box")


def test_the_record_travels(tmp_path, profile):
    scap_ov.save_model(scap_ov.apply(small_decoder(), profile, CONFIG), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx", "scap_config.json"]
    record = backend.record(backend.open_model(tmp_path / "out" / "model.onnx").model)
    assert record == json.loads((tmp_path / "out" / "scap_config.json").read_text())
    assert record["config"]["method"] == "scap"
    assert {site["state"] for site in record["summary"]["sites"]} == {"portable"}
    with pytest.raises(BadModelError, match="sparse already"):
        scap_ov.apply(tmp_path / "out" / "model.onnx", profile, CONFIG)


def test_profile_and_plan_pass_between_onnx_and_ir(profile):
    model = as_ir(small_decoder())
    plan = scap_ov.fit(profile, CONFIG)
    from_plan = scap_ov.apply(model, plan, form="portable")
    from scap_ov.calibration.observe import observe as observe_ir

    ir_profile = observe_ir(model, token_data())
    again = scap_ov.apply(small_decoder(), ir_profile, CONFIG)
    np.testing.assert_array_equal(outputs(again)["logits"], outputs(scap_ov.apply(small_decoder(), plan))["logits"])
    import openvino as ov

    compiled = ov.Core().compile_model(from_plan, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rng = np.random.default_rng(5)
    inputs = {"input_ids": rng.integers(0, 256, (1, 3)), "attention_mask": np.ones((1, 3), np.int64), "position_ids": np.arange(3)[None]}
    inputs |= {f"past_key_values.{i}.{part}": np.zeros((1, 2, 0, 16), np.float32) for i in range(2) for part in ("key", "value")}
    np.testing.assert_allclose(compiled(inputs)["logits"], outputs(again)["logits"], atol=1e-3)


def test_a_plan_of_another_network_is_refused(profile):
    with pytest.raises(MismatchError, match="another model"):
        scap_ov.apply(FORMS["matmul f32"]().proto, profile, CONFIG)
    from small_llm import small_llm

    with pytest.raises(MismatchError, match=r"of its 8 sites are not here in that size \(block\.0\.up"):
        scap_ov.apply(small_llm(), profile, CONFIG, form="portable")


def test_external_data_is_used_where_it_lies(tmp_path, profile, monkeypatch):
    whole = outputs(scap_ov.apply(small_decoder(), profile, CONFIG))["logits"]
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "m.onnx"
    ir.save(ir.from_proto(small_decoder()), source, external_data="weights.bin", size_threshold_bytes=0)
    np.testing.assert_array_equal(outputs(scap_ov.apply(source, profile, CONFIG))["logits"], whole)
    embedded = scap_ov.apply(source, profile, CONFIG)
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in embedded.graph.initializer)

    monkeypatch.setattr(onnx_model, "PROTOBUF_LIMIT", 1000)  # as if all of it had more than 2 GB
    referring = scap_ov.apply(source, profile, CONFIG)
    assert referring.ByteSize() < source.with_name("weights.bin").stat().st_size / 2
    np.testing.assert_array_equal(outputs(referring)["logits"], whole)
    scap_ov.save_model(referring, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx", "model.onnx.data", "scap_config.json"]
    source.with_name("weights.bin").unlink()
    np.testing.assert_array_equal(outputs(tmp_path / "out" / "model.onnx")["logits"], whole)


def test_a_large_proto_without_files_runs(monkeypatch):
    whole = outputs(small_decoder())["logits"]
    monkeypatch.setattr(onnx_session, "_INLINE_LIMIT", 1000)
    np.testing.assert_array_equal(outputs(small_decoder())["logits"], whole)


def test_calibrating_external_data_reads_it_in_place(tmp_path, profile):
    source = tmp_path / "m.onnx"
    ir.save(ir.from_proto(small_decoder()), source, external_data="weights.bin", size_threshold_bytes=0)
    again = observe(open_onnx(source), token_data())
    assert again.fingerprint == profile.fingerprint
    for name, own in profile.statistics.items():
        for key, value in own.tensors.items():
            np.testing.assert_array_equal(again.statistics[name].tensors[key], value)


def test_a_folder_is_complete(tmp_path, profile):
    source = tmp_path / "in"
    source.mkdir()
    onnx.save(small_decoder(), source / "model.onnx")
    (source / "tokenizer.json").write_text("{}")
    pruned = scap_ov.apply(source, profile, CONFIG)
    backend.write(pruned, destination(source, tmp_path / "out", backend.own_files(source / "model.onnx")))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx", "scap_config.json", "tokenizer.json"]
    with pytest.raises(OutputError, match="not empty"):
        destination(source, tmp_path / "out", [])


def keep_outside(model, path, data):
    ir.save(ir.from_proto(model), path, external_data=data, size_threshold_bytes=0)


@pytest.mark.parametrize(("name", "data"), [("decoder_model.onnx", "model.onnx.data"), ("model.onnx", "weights.pb")])
def test_the_name_is_kept_and_the_old_data_is_not(tmp_path, profile, name, data):
    """Which files are the model's own is asked of the model; what an encoder beside it uses is the encoder's."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "genai_config.json").write_text("{}")
    keep_outside(small_decoder(), source / name, data)
    keep_outside(small_decoder(), source / "encoder.onnx", "encoder.onnx.data")
    pruned = scap_ov.apply(source / name, profile, CONFIG)
    backend.write(pruned, destination(source / name, tmp_path / "out", backend.own_files(source / name)))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"genai_config.json", name, "encoder.onnx", "encoder.onnx.data",
                                                                   "scap_config.json"}  # fmt: skip


def test_data_that_two_models_share_is_copied(tmp_path):
    for name in ("decoder_model.onnx", "decoder_with_past_model.onnx"):
        keep_outside(small_decoder(), tmp_path / name, "shared.data")
    assert backend.own_files(tmp_path / "decoder_model.onnx") == [tmp_path / "decoder_model.onnx"]


def test_not_an_onnx_file(tmp_path):
    for name, content in (("text.onnx", b"This is no model."), ("empty.onnx", b""), ("zeros.onnx", bytes(1000))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadModelError, match=f"{name} is not an ONNX file, or "):
            scap_ov.apply(tmp_path / name, token_data(), CONFIG)


def test_a_cut_file(tmp_path):
    data = small_decoder().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadModelError, match="is not an ONNX file, or is damaged"):
        scap_ov.calibrate(tmp_path / "cut.onnx", token_data())


def test_missing_and_cut_external_data(tmp_path):
    source, weights = tmp_path / "m.onnx", tmp_path / "weights.bin"
    ir.save(ir.from_proto(small_decoder()), source, external_data=weights.name, size_threshold_bytes=0)
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(BadModelError, match=r"weights\.bin, which holds weights of .*, ends too early"):
        scap_ov.calibrate(source, token_data())
    weights.unlink()
    with pytest.raises(BadModelError, match=r"keeps its weights in .*weights\.bin, which is not there"):
        scap_ov.calibrate(source, token_data())


@pytest.mark.parametrize("hard", [False, True])
def test_external_data_behind_a_link(tmp_path, hard):
    """As onnxruntime: links into the cache of Hugging Face and hard links are followed, names that lead outside are refused."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    source = tmp_path / "snapshot" / "m.onnx"
    keep_outside(small_decoder(), source, "weights.bin")
    source.with_name("weights.bin").rename(tmp_path / "blobs" / "0123")
    if hard:
        source.with_name("weights.bin").hardlink_to(tmp_path / "blobs" / "0123")
    else:
        source.with_name("weights.bin").symlink_to(tmp_path / "blobs" / "0123")
    np.testing.assert_array_equal(outputs(source)["logits"], outputs(small_decoder())["logits"])
    assert backend.find(open_onnx(source), CONFIG) == backend.find(open_onnx(small_decoder()), CONFIG)


def test_external_data_outside_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    model = onnx.ModelProto()
    model.CopyFrom(small_decoder())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadModelError, match=r"outside its folder \(\.\./weights\.bin\)"):
        open_onnx(tmp_path / "in" / "m.onnx")


def test_an_onnx_model_is_not_saved_as_an_ir(tmp_path):
    with pytest.raises(OutputError, match="is the name of an OpenVINO model"):
        scap_ov.save_model(small_decoder(), tmp_path / "m.xml")


@pytest.mark.parametrize(("opset", "text"), [(13, "is of opset 13"), (99, "is of opset 99")])
def test_unsupported_opsets(opset, text):
    proto = onnx.ModelProto()
    proto.CopyFrom(FORMS["matmul f32"]().proto)
    proto.opset_import[0].version = opset
    with pytest.raises(BadModelError, match=f"{text}; opsets 17 to"):
        scap_ov.calibrate(proto, token_data())


def test_no_opset_at_all():
    proto = onnx.ModelProto()
    proto.CopyFrom(FORMS["matmul f32"]().proto)
    del proto.opset_import[:]
    with pytest.raises(BadModelError, match="names no opset"):
        scap_ov.calibrate(proto, token_data())


def test_data_that_does_not_fit():
    proto = FORMS["matmul f32"]().proto
    with pytest.raises(BadDatasetError, match=r"sample 0 does not fit the model: it takes x \[\?,\?,64\], got x \[2, 3\]"):
        observe(open_onnx(proto), nncf.Dataset([{"x": np.zeros((2, 3), np.float32)}]))
    with pytest.raises(BadDatasetError, match="NaN"):
        observe(open_onnx(proto), nncf.Dataset([{"x": np.full((1, 3, K), np.nan, np.float32)}]))


def test_operators_that_onnxruntime_lacks():
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    y = d.op("Unheard", d.op("MatMul", x, d.weight("w", K, K)), domain="com.example")
    with pytest.raises(BadModelError, match="onnxruntime refuses the model"):
        OnnxSession(open_onnx(d.proto({"y": y})))
