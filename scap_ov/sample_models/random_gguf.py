"""Write a Llama-type GGUF file with random f16 weights, for llama.cpp's quantiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scap_ov.sample_models.random_llm import Shape


def write_gguf(shape: Shape, path: Path) -> Path:
    """The file, without a vocabulary: token ids go in, logits come out."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")
    rng = np.random.default_rng(0)
    wide, hidden, ffn = shape.kv_heads * shape.head, shape.hidden, shape.ffn
    sizes = {
        "attn_q": (hidden, hidden), "attn_k": (wide, hidden), "attn_v": (wide, hidden), "attn_output": (hidden, hidden),
        "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn),
    }  # fmt: skip
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", _random(rng, (shape.vocabulary, hidden)))
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for block in range(shape.layers):
        for name, size in sizes.items():
            writer.add_tensor(f"blk.{block}.{name}.weight", _random(rng, size))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _random(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return (rng.standard_normal(size, np.float32) / np.float32(np.sqrt(size[1]))).astype(np.float16)
