"""What openvino-genai refuses reaches the user as one sentence with the right cure; its own text does without fused attention too."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
import onnx
import pytest
import tokenizers
from openvino import opset13 as ops
from openvino_genai import StreamingStatus
from signal_stack import leave_signal_stack
from small_llm import small_folder, small_llm
from small_onnx import small_decoder

from scap_ov.errors import BadModelError, MissingDependencyError, UsageError
from scap_ov.models import dataset
from scap_ov.models.genai import generate_streamed, open_pipeline, openvino_file, told
from scap_ov.storage.model_folder import write_model_folder


def test_an_onnx_model_is_no_model_of_genai(tmp_path):
    onnx.save(small_decoder(), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="openvino-genai runs OpenVINO models"):
        openvino_file(tmp_path)


def test_a_folder_without_tokenizers_is_told_how_to_get_them(tmp_path):
    xml = small_folder(tmp_path / "stock") / "openvino_model.xml"
    said = r"cannot run .* \(the tokenizer was not loaded\); it has no openvino_tokenizer\.xml beside it: convert_tokenizer"
    msg = "Exception from core.cpp:1:\nthe tokenizer was not loaded\n\n"
    with pytest.raises(BadModelError, match=said), told(xml, "run", "another cure"):
        raise RuntimeError(msg)
    with pytest.raises(BadModelError, match=r"\(no such op\); another cure"), told(xml, "run", "another cure"):
        raise RuntimeError("no such op")  # noqa: EM101
    (xml.parent / "openvino_tokenizer.xml").write_text("")
    with pytest.raises(BadModelError, match="another cure"), told(xml, "run", "another cure"):
        raise ValueError


def test_a_model_that_genai_cannot_load_is_one_sentence(tmp_path):
    xml = small_folder(tmp_path / "stock") / "openvino_model.xml"
    xml.write_text("<net garbage")
    with pytest.raises(BadModelError, match="openvino-genai cannot load"):
        open_pipeline(tmp_path / "stock")


class Writer:
    """A pipeline that writes until it is stopped."""

    def __init__(self):
        self.pieces = 0

    def generate(self, prompts, config, streamer):
        while self.pieces < 2000 and streamer("piece ") is StreamingStatus.RUNNING:
            self.pieces += 1
            time.sleep(0.001)
        return prompts


def test_ctrl_c_ends_a_text_at_the_next_token():
    """It was heard of when the text was complete."""
    writer = Writer()
    leave_signal_stack()
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        generate_streamed(writer, "prompt", None, lambda _: None)
    assert writer.pieces < 2000


def test_what_takes_the_pieces_may_go_away():
    """As `head` does."""
    writer = Writer()

    def write(_):
        if writer.pieces == 2:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        generate_streamed(writer, "prompt", None, write)
    assert writer.pieces == 2


def test_genai_that_is_not_there(tmp_path, monkeypatch):
    small_folder(tmp_path / "stock")
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(MissingDependencyError, match=r"which is not installed; pip install 'scap_ov\[genai\]'"):
        open_pipeline(tmp_path / "stock")


def spelt_out(model):
    """The model with its fused attention as MatMul and Softmax."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            q, k, v, mask = (op.input_value(i) for i in range(4))
            scores = ops.multiply(ops.matmul(q, k, False, True), np.float32(1 / 4))
            mixed = ops.matmul(ops.softmax(ops.add(scores, mask), -1), v, False, False)
            for target in list(op.output(0).get_target_inputs()):
                target.replace_source_output(mixed.output(0))
    model.validate_nodes_and_infer_types()
    return model


@pytest.mark.parametrize("name", ["openvino_model", "llama"])
def test_a_model_without_fused_attention_writes_its_own_text(tmp_path, monkeypatch, caplog, name):
    """One sequence at a time, with a word; under any file name."""
    write_model_folder(spelt_out(small_llm()), None, tmp_path / "m")
    for suffix in ("xml", "bin"):
        (tmp_path / "m" / f"openvino_model.{suffix}").rename(tmp_path / "m" / f"{name}.{suffix}")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "The": 1}, unk_token="[UNK]"))
    words.save(str(tmp_path / "m" / "tokenizer.json"))
    (tmp_path / "m" / "generation_config.json").write_text('{"eos_token_id": 2}')
    monkeypatch.setattr(dataset, "_OPENINGS", ("The", "A"))
    samples = list(dataset.self_dataset(tmp_path / "m", tokens=20, seq_len=16).get_inference_data())
    assert all(1 < sample["input_ids"].shape[1] <= 16 for sample in samples)
    assert 19 <= sum(sample["input_ids"].shape[1] for sample in samples) <= 20  # as many as were asked for
    assert "one sequence at a time" in caplog.text
