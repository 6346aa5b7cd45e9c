"""Read the weights of a Llama-type GGUF file in numpy: f32, f16, Q4_1 and Q8_0.

Q4_1  blocks of 32: f16 d, f16 m, 16 bytes; byte j holds value j in the low nibble and value j + 16 in the high one; w = d·q + m
Q8_0  blocks of 32: f16 d, 32 × int8; w = d·q
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scap_ov.errors import BadModelError
from scap_ov.sample_models.onnx_decoder import Rotary
from scap_ov.sample_models.random_llm import Shape

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
}  # fmt: skip


def llama_of(path: Path) -> tuple[Shape, Rotary, dict[str, np.ndarray]]:
    """Shape and weights, float32 by Hugging Face's names, for onnx_decoder.decoder.

    :raises BadModelError: it is no GGUF file of a Llama, or has a weight type that is not read here.
    """
    with path.open("rb") as file:
        magic, _, tensors, entries = struct.unpack("<4sIQQ", file.read(24))
        if magic != b"GGUF":
            msg = f"{path} is no GGUF file; give one of a Llama-type model"
            raise BadModelError(msg)
        known = dict(_entry(file) for _ in range(entries))
        infos = [_info(file) for _ in range(tensors)]
        align = int(known.get("general.alignment", 32))
        start = -(-file.tell() // align) * align
    if known.get("general.architecture") != "llama":
        msg = f"{path} holds a {known.get('general.architecture')}; give a GGUF file of a Llama-type model"
        raise BadModelError(msg)
    data = np.memmap(path, np.uint8, "r")
    heads = {"attn_q": int(known["llama.attention.head_count"]), "attn_k": int(known["llama.attention.head_count_kv"])}
    weights = {}
    for name, dims, kind, offset in infos:
        *block, part, _ = name.split(".")
        values = _decode(data, start + offset, dims, kind)
        prefix = f"model.layers.{block[1]}." if block else ""
        weights[f"{prefix}{_NAMES[part]}.weight"] = _unpermuted(values, heads[part]) if part in heads else values
    sizes = [int(known[f"llama.{key}"]) for key in ("block_count", "embedding_length", "feed_forward_length")]
    vocabulary = len(weights["model.embed_tokens.weight"])
    name, (blocks, hidden, ffn) = str(known.get("general.name", path.stem)), sizes
    shape = Shape(name, blocks, hidden, ffn, heads["attn_q"], heads["attn_k"], vocabulary)
    rotary = Rotary(float(known.get("llama.rope.freq_base", 10000.0)), float(known["llama.attention.layer_norm_rms_epsilon"]))
    return shape, rotary, weights


def _decode(data: np.ndarray, start: int, dims: tuple[int, ...], kind: int) -> np.ndarray:
    """One tensor, float32 [N, K] or [N]; GGUF names the sizes from the inside out."""
    count = int(np.prod(dims))
    readers: dict[int, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {0: (4 * count, lambda raw: raw.view(np.float32)),
        1: (2 * count, lambda raw: raw.view(np.float16)), 3: (count // 32 * 20, _q4_1), 8: (count // 32 * 34, _q8_0)}  # fmt: skip
    if kind not in readers:
        msg = f"the GGUF file has weights of type {kind}; f32, f16, Q4_1 and Q8_0 are read"
        raise BadModelError(msg)
    size, read = readers[kind]
    return read(np.array(data[start : start + size])).astype(np.float32).reshape(dims[::-1])


def _q4_1(raw: np.ndarray) -> np.ndarray:
    blocks = raw.reshape(-1, 20)
    scale, minimum = (blocks[:, a : a + 2].copy().view(np.float16).astype(np.float32) for a in (0, 2))
    return np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1) * scale + minimum


def _q8_0(raw: np.ndarray) -> np.ndarray:
    blocks = raw.reshape(-1, 34)
    return blocks[:, 2:].view(np.int8) * blocks[:, :2].copy().view(np.float16).astype(np.float32)


def _unpermuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF interleaves the two halves of each head of q and k; Hugging Face has one after the other."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _entry(file: BinaryIO) -> tuple[str, Any]:
    name = _text(file)
    return name, _value(file, struct.unpack("<I", file.read(4))[0])


def _info(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    name = _text(file)
    (rank,) = struct.unpack("<I", file.read(4))
    dims = struct.unpack(f"<{rank}Q", file.read(8 * rank))
    kind, offset = struct.unpack("<IQ", file.read(12))
    return name, dims, kind, offset


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        return [_value(file, inner) for _ in range(count)]
    form = "<" + _NUMBERS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode("utf-8", "replace")
