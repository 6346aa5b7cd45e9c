"""Inputs for a model of any row, its answers for a prompt and decode steps, and how far two answers are apart."""

from __future__ import annotations

import numpy as np
import openvino as ov
from decode_steps import EXACT

import scap_ov

ENCODED = 7  # positions that an encoder-decoder's decoder attends to
VOCABULARY = 256
FRAMES = 3000  # of Whisper's spectrogram
CONVOLUTION = 4  # Mamba's conv_kernel


def inputs_for(model, ids: np.ndarray, past: int = 0, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Every input that a model has.

    :param ids: int64 [B, T].
    :param past: positions before these.
    """
    rng = np.random.default_rng(seed)
    batch, length = ids.shape
    made = {
        "input_ids": ids,
        "decoder_input_ids": ids,
        "attention_mask": np.ones((batch, past + length), np.int64),
        "position_ids": np.arange(past, past + length)[None].repeat(batch, 0),
        "cache_position": np.arange(CONVOLUTION) if past == 0 else np.array([CONVOLUTION]),  # of Mamba, as optimum-intel gives it
        "token_type_ids": np.zeros_like(ids),
        "beam_idx": np.arange(batch, dtype=np.int32),
        "encoder_attention_mask": np.ones((batch, ENCODED), np.int64),
        "encoder_hidden_states": rng.standard_normal((batch, ENCODED, 64)).astype(np.float32),
        "pixel_values": rng.standard_normal((batch, 3, 32, 32)).astype(np.float32),
        "input_features": rng.standard_normal((batch, 80, FRAMES)).astype(np.float32),
    }
    names = [port.get_any_name() for port in model.inputs]
    if "cache_position" in names:  # Mamba masks the tokens of this step only
        made["attention_mask"] = np.ones_like(ids)
    return {name: made[name] for name in names}


def random_ids(batch: int, length: int, seed: int) -> np.ndarray:
    """int64 [B, T]."""
    return np.random.default_rng(seed).integers(3, VOCABULARY, (batch, length))


def is_stateful(model) -> bool:
    """Whether a model keeps its past itself."""
    return any(port.get_any_name() == "beam_idx" for port in model.inputs)


def compile_exactly(model, **properties):
    """Compiled in a core of its own, with float32 arithmetic on both sides unless `properties` says otherwise."""
    core = ov.Core()
    scap_ov.register(core)
    return core.compile_model(model, "CPU", {**EXACT, **properties})


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value that is expected."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def answers(compiled, ids: np.ndarray, decode: int = 3) -> np.ndarray:
    """The first output for a prompt and for steps of one token, float32 [B, T, ...].

    A model without state gets everything at once.
    """
    request = compiled.create_infer_request()
    if not is_stateful(compiled):
        return first_output(request.infer(inputs_for(compiled, ids)))
    parts, past = [], 0
    for part in (ids[:, : ids.shape[1] - decode], *(ids[:, i : i + 1] for i in range(ids.shape[1] - decode, ids.shape[1]))):
        parts.append(first_output(request.infer(inputs_for(compiled, part, past))))
        past += part.shape[1]
    return np.concatenate(parts, 1)


def greedy(compiled, prompt: np.ndarray, count: int) -> list[int]:
    """Tokens that a stateful model continues a prompt with.

    :param prompt: int64 [1, T].
    """
    request, ids, past, made = compiled.create_infer_request(), prompt, 0, []
    for _ in range(count):
        logits = first_output(request.infer(inputs_for(compiled, ids, past)))
        past += ids.shape[1]
        made.append(int(logits[0, -1].argmax()))
        ids = np.array([[made[-1]]])
    return made


def first_output(result) -> np.ndarray:
    """A copy of it."""
    return np.array(result[0])
