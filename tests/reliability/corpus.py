"""Small files of every kind that the commands read: a model, packed models, a profile, a plan, a configuration, texts. Made once."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
from small_llm import SHAPE, TEXT, letters

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.models.dataset import text_dataset
from scap_ov.sample_models.random_llm import build
from scap_ov.storage.model_folder import read_model, write_model_folder

LEVELS = (0.0, 0.3, 0.5)
GOLDEN = Path(__file__).parents[1] / "golden"
WORDS = GOLDEN / "words"  # what tests/pipeline_folders.py makes of transformers, which is not installed everywhere: `w0` to `w127`


def make(folder: Path) -> None:
    """Fill an empty folder: stock/, sparse/, portable/, levels/, chat/, chat-stock/, profiles, plans, config.toml, text.txt, text.jsonl."""
    stock = build(SHAPE, "i8", SHAPE.layers)
    write_model_folder(stock, None, folder / "stock")
    (folder / "stock" / "config.json").write_text("{}")
    write_letters_tokenizer(folder / "stock")
    stock = read_model(folder / "stock")
    for number, name in enumerate(("profile", "shard")):
        text = TEXT[37 * number :]
        observe(stock, text_dataset(text, letters, stock, seq_len=32, max_tokens=256)).save(folder / f"{name}.safetensors")
    profile = scap_ov.CalibrationProfile.load(folder / "profile.safetensors")
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(0.5, replace="always"))
    plan.save(folder / "plan.safetensors")
    for form in ("lowered", "portable"):
        write_model_folder(scap_ov.apply(stock, plan, form=form), folder / "stock", folder / ("sparse" if form == "lowered" else form))
    levels = scap_ov.SparsityConfig(0.5, replace="always", levels=LEVELS)
    write_model_folder(scap_ov.apply(stock, scap_ov.fit(profile, levels)), folder / "stock", folder / "levels")
    for name, model in (("chat-stock", "stock"), ("chat", "sparse")):
        shutil.copytree(folder / model, folder / name)
        shutil.copytree(WORDS, folder / name, dirs_exist_ok=True)
    (folder / "old-profile.safetensors").write_bytes(gzip.decompress((GOLDEN / "profile.safetensors.gz").read_bytes()))
    shutil.copy(GOLDEN / "plan.safetensors", folder / "old-plan.safetensors")
    (folder / "config.toml").write_text('target_sparsity = 0.4\nmethod = "adaptive"\nreplace = "always"\nignored_scope = ["re:.*o_proj"]\n')
    (folder / "text.txt").write_text(TEXT)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": TEXT[i : i + 90]}) + "\n" for i in range(0, 900, 90)))


def write_letters_tokenizer(folder: Path) -> None:
    """A tokenizer.json with one token per byte, for the package tokenizers."""
    vocabulary = {chr(c): c for c in range(32, 127)} | {f"<{c}>": c for c in (*range(32), 127)}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}, "post_processor": None,
        "decoder": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<0>"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """Flipped bits, a cut, a piece that is overwritten, doubled or left out, or numbers in text that are replaced by others."""
    data = bytearray(raw)
    how = int(rng.integers(7))
    start = int(rng.integers(max(len(data), 1)))
    piece = slice(start, start + int(rng.integers(1, 64)))
    if how == 0:
        return bytes(data[:start])
    if how == 1 and data:
        for _ in range(int(rng.integers(1, 9))):
            # the first kilobytes of a file hold its structure
            at = int(rng.integers(min(len(data), 4096))) if rng.random() < 0.7 else int(rng.integers(len(data)))
            data[at] ^= 1 << int(rng.integers(8))
    elif how == 2:
        data[piece] = rng.bytes(len(data[piece]))
    elif how == 3:
        data[piece] = b""
    elif how == 4:
        data[piece] = data[piece] * 2
    else:
        return _other_number(bytes(data), rng)
    return bytes(data)


NASTY = (
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"null",
    b'"x"',
    b"[]",
    b"{}",
    b"true",
    b"9223372036854775808",
    b"4611686018427387904",
    b"1.5",
    b"[/b]",
)


def _other_number(data: bytes, rng: np.random.Generator) -> bytes:
    import re

    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:200_000]))
    if not found:
        return data[: len(data) // 2]
    hit = found[int(rng.integers(len(found)))]
    return data[: hit.start()] + NASTY[int(rng.integers(len(NASTY)))] + data[hit.end() :]
