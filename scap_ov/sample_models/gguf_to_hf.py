"""Turn a GGUF file into a Hugging Face folder for `optimum-cli export openvino`.

transformers reads the weights. The tokenizer is built here from the file's own tokens and merges or scores, because the one that
transformers converts has a SentencePiece normalizer and decoder, which show as `Ġ` in OpenVINO's output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.errors import BadModelError
from scap_ov.json_values import JsonMapping
from scap_ov.optional import optional
from scap_ov.sample_models.sentencepiece_bpe import sentencepiece_bpe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CONTROL = 3  # GGUF's token type of tokens that never come out of plain text
_NEEDED = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.eos_token_id")
# What each type of tokenizer needs besides: `gpt2` is byte-level BPE, `llama` is SentencePiece's BPE.
_KINDS = {"gpt2": ("tokenizer.ggml.merges",), "llama": ("tokenizer.ggml.scores", "tokenizer.ggml.unknown_token_id")}


def gguf_to_hf(gguf: Path, folder: Path) -> None:
    """Write config, weights (float16), tokenizer, chat template and generation config.

    :param gguf: a GGUF file of an architecture that transformers can read.
    :param folder: where to write; created when absent.
    :raises BadModelError: the file's tokenizer is neither a byte-level BPE with merges nor SentencePiece's BPE with scores.
    :raises MissingDependencyError: transformers, torch, gguf or accelerate is not installed.
    """
    for name in ("accelerate", "torch", "gguf", "transformers"):  # transformers asks for accelerate when it loads a GGUF file
        optional(name, "the optimum road needs", "'scap_ov[demo,export]'")
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, GenerationConfig

    metadata = {name: field.contents() for name, field in GGUFReader(str(gguf)).fields.items() if name.startswith("tokenizer.")}
    _check(gguf, metadata)
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32).to(torch.float16)
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    for name, value in ids.items():
        setattr(model.config, f"{name}_token_id", value)
    model.generation_config = GenerationConfig(**{f"{name}_token_id": value for name, value in ids.items()})
    model.save_pretrained(str(folder))
    _save_tokenizer(metadata, folder, model.config.max_position_embeddings)


def byte_level_bpe(tokens: list[str], merges: list[str], types: list[int]) -> Tokenizer:
    """Build the tokenizer that SmolLM's family was trained with.

    No normalizer and no post-processor; digits one by one, then GPT-2's byte-level split without a prefix space.

    :param tokens: token texts in GPT-2's byte alphabet, index = id.
    :param merges: pairs, "left right", best first.
    :param types: GGUF token types; 3 marks a special token.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens(special)
    return tokenizer


def _check(gguf: Path, metadata: JsonMapping) -> None:
    kind = str(metadata.get("tokenizer.ggml.model"))
    missing = [key for key in (*_NEEDED, *_KINDS.get(kind, ())) if key not in metadata]
    if kind not in _KINDS or missing:
        lacks = f" and lacks {', '.join(missing)}" if missing else ""
        msg = f"{gguf.name}: its tokenizer is of type {kind!r}{lacks}; {' and '.join(_KINDS)} are converted; use openvino_genai on it"
        raise BadModelError(msg)


def _build(metadata: JsonMapping) -> Tokenizer:
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    if metadata["tokenizer.ggml.model"] == "gpt2":
        return byte_level_bpe(tokens, metadata["tokenizer.ggml.merges"], types)
    bos = metadata.get("tokenizer.ggml.bos_token_id") if metadata.get("tokenizer.ggml.add_bos_token", True) else None
    unknown, blank = metadata["tokenizer.ggml.unknown_token_id"], metadata.get("tokenizer.ggml.add_space_prefix", True)
    return sentencepiece_bpe(tokens, metadata["tokenizer.ggml.scores"], types, bos=bos, unknown=unknown, prefix_space=blank)


def _save_tokenizer(metadata: JsonMapping, folder: Path, max_length: int) -> None:
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    _build(metadata).save(str(folder / "tokenizer.json"))
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {f"{name}_token": metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    special = {name: tokens[index] for name, index in ids.items() if index is not None}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL],
        **special,
    }
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
