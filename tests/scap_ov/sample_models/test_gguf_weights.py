"""Reading GGUF weights in numpy: block formats by hand, and a whole file that is made here."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from scap_ov.errors import BadModelError
from scap_ov.sample_models.gguf_weights import llama_of

HIDDEN, FFN, HEADS, VOCABULARY = 64, 96, 2, 5
F32, Q4_1, Q8_0 = 0, 3, 8


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def q4_1(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Quantised, and what it stands for."""
    data, real = b"", []
    for block in values.reshape(-1, 32):
        low = np.float16(block.min())
        step = np.float16((block.max() - block.min()) / 15)
        q = np.clip(np.round((block - np.float32(low)) / np.float32(step)), 0, 15).astype(np.uint8)
        data += struct.pack("<ee", step, low) + (q[:16] | q[16:] << 4).tobytes()
        real.append(np.float32(step) * q + np.float32(low))
    return data, np.concatenate(real).reshape(values.shape)


def q8_0(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    data, real = b"", []
    for block in values.reshape(-1, 32):
        step = np.float16(np.abs(block).max() / 127)
        q = np.round(block / np.float32(step)).astype(np.int8)
        data += struct.pack("<e", step) + q.tobytes()
        real.append(np.float32(step) * q)
    return data, np.concatenate(real).reshape(values.shape)


def written(path, architecture="llama", kind=Q4_1):
    rng = np.random.default_rng(0)
    square, half, wide = (HIDDEN, HIDDEN), (HIDDEN // 2, HIDDEN), (FFN, HIDDEN)
    shapes = {"token_embd": (VOCABULARY * 32, HIDDEN), "output_norm": (HIDDEN,)}
    block = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "attn_q": square, "attn_k": half, "attn_v": half, "attn_output": square}
    block |= {"ffn_gate": wide, "ffn_up": wide, "ffn_down": wide[::-1]}
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    numbers = {"block_count": 1, "embedding_length": HIDDEN, "feed_forward_length": FFN}
    numbers |= {"attention.head_count": HEADS, "attention.head_count_kv": 1}
    entries = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    entries += text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    entries += b"".join(text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items())
    entries += text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-6)
    infos, data, real = b"", b"", {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32)
        form = F32 if len(shape) == 1 else Q8_0 if name == "token_embd" else kind
        raw, real[name] = (values.tobytes(), values) if form == F32 else q8_0(values) if form == Q8_0 else q4_1(values)
        infos += text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], form, len(data))
        data += raw + bytes(-len(raw) % 32)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), 3 + len(numbers)) + entries + infos
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return real


def test_a_whole_file(tmp_path):
    real = written(tmp_path / "m.gguf")
    shape, rotary, weights = llama_of(tmp_path / "m.gguf")
    assert (shape.layers, shape.hidden, shape.ffn, shape.heads, shape.kv_heads, shape.vocabulary) == (1, 64, 96, 2, 1, 160)
    assert rotary.epsilon == pytest.approx(1e-6)
    np.testing.assert_array_equal(weights["model.norm.weight"], real["output_norm"])
    np.testing.assert_array_equal(weights["model.embed_tokens.weight"], real["token_embd"])
    np.testing.assert_array_equal(weights["model.layers.0.mlp.down_proj.weight"], real["blk.0.ffn_down"])
    np.testing.assert_array_equal(weights["model.layers.0.self_attn.v_proj.weight"], real["blk.0.attn_v"])


def test_heads_are_put_back_in_order(tmp_path):
    real = written(tmp_path / "m.gguf")
    q = llama_of(tmp_path / "m.gguf")[2]["model.layers.0.self_attn.q_proj.weight"]
    np.testing.assert_array_equal(q[0:16], real["blk.0.attn_q"][0:32:2])  # first halves of the pairs of head 0
    np.testing.assert_array_equal(q[16:32], real["blk.0.attn_q"][1:32:2])


def test_other_files_are_refused(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"not a GGUF file, but long enough for a header")
    with pytest.raises(BadModelError, match="is no GGUF file"):
        llama_of(tmp_path / "no.gguf")
    written(tmp_path / "other.gguf", architecture="falcon")
    with pytest.raises(BadModelError, match="holds a falcon"):
        llama_of(tmp_path / "other.gguf")
    written(tmp_path / "type.gguf", kind=Q8_0)
    assert llama_of(tmp_path / "type.gguf")[0].layers == 1
