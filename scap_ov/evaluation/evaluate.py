"""Evaluate a model against a reference on text: the figures of EvaluationResult."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from scap_ov.arguments import check_count, check_progress, check_type
from scap_ov.errors import BadDatasetError, MismatchError, UsageError
from scap_ov.evaluation.at_level import at_level
from scap_ov.evaluation.bytes_read import weight_bytes_per_token
from scap_ov.evaluation.instrument import SparseView, sparse_view
from scap_ov.evaluation.reads import Reads
from scap_ov.evaluation.result import EvaluationResult
from scap_ov.models.agreement import WindowScore, score, standard_error
from scap_ov.models.window_runner import WindowRunner
from scap_ov.models.windows import text_windows
from scap_ov.progress import Progress
from scap_ov.storage.model_files import model_file
from scap_ov.storage.model_folder import read_model

if TYPE_CHECKING:
    from scap_ov.models.windows import Tokenizer

MAX_TOKENS = {"all": 16_384, "decode": 2_048}  # one by one costs some ten times as much a token
# Quality shall not depend on whether this machine computes in bf16; int8 activations stay as they are deployed.
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
DECODE_WINDOW = 128  # of which the first quarter is the prompt


def evaluate(
    model: ov.Model | str | Path,
    reference: ov.Model | str | Path,
    text: str | Path | Sequence[object],
    *,
    tokenizer: Tokenizer | None = None,
    rows: str = "all",
    window: int = 512,
    max_tokens: int | None = None,
    properties: Mapping[str, object] | None = None,
    level: float | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Perplexity, divergence from the reference, and measured sparsity of a model on text.

    :param model: stock or sparse, in either form: ov.Model, model folder or .xml. It is not modified.
    :param reference: the stock model.
    :param text: text, Path of a text file, or windows of token ids.
    :param tokenizer: function from str to token ids, or a folder with a tokenizer; by default the model's own folder.
    :param rows: `all` prunes every row but the first of a window, in one pass; `decode` runs the model as deployed, token by token.
    :param window: tokens of a window (`decode`: at most 128 of them, the first quarter is the prompt).
    :param max_tokens: most tokens in all.
    :param properties: of the CPU plugin, for both models, instead of PROPERTIES.
    :param level: of a model with levels, the one to evaluate; None for the one that it runs with.
    :raises MismatchError: the models have different vocabularies.
    :raises UsageError: the model has no such level.
    """
    if not isinstance(rows, str) or rows not in MAX_TOKENS:
        msg = f"rows is {rows!r}; give all or decode"
        raise UsageError(msg)
    check_count("window", window, 2)
    if max_tokens is not None:
        check_count("max_tokens", max_tokens, 2)
    for name, one in (("model", model), ("reference", reference)):
        check_type(name, one, (ov.Model, str, Path), "an openvino.Model, or the path of a model folder or .xml")
    if properties is not None:
        check_type("properties", properties, Mapping, "a dict of properties of the CPU plugin")
    check_progress(progress)
    window = min(window, DECODE_WINDOW) if rows == "decode" else window
    tokenizer = tokenizer if tokenizer is not None else _tokenizer_folder(model, reference, text)
    windows = text_windows(text, tokenizer, window=window, max_tokens=max_tokens or MAX_TOKENS[rows])
    view = sparse_view(at_level(_read(model), level), rows=rows)
    stock = sparse_view(at_level(_read(reference)), rows=rows)
    chosen = PROPERTIES if properties is None else properties
    runner, base = (WindowRunner(v.model, v.outputs(), chosen, in_rows=rows == "all") for v in (view, stock))
    scores, shares, base_shares = [], [], []
    for index, ids in enumerate(windows):
        one, share, base_share = _window(runner, base, ids, rows)
        scores.append(one)
        shares.append(share)
        base_shares.append(base_share)
        if progress:
            progress(index + 1, len(windows))
    reads, base_reads = view.reads(np.concatenate(shares, axis=1)), stock.reads(np.concatenate(base_shares, axis=1))
    positions = np.concatenate([len(ids) - share.shape[1] + np.arange(share.shape[1]) for ids, share in zip(windows, shares, strict=True)])
    return _result(scores, view, reads, stock, base_reads, rows, positions)


def _window(runner: WindowRunner, base: WindowRunner, ids: np.ndarray, rows: str) -> tuple[WindowScore, np.ndarray, np.ndarray]:
    if rows == "all":
        logits, share = runner.whole(ids)
        reference, base_share = base.whole(ids)
        targets = ids[1:]
        share, base_share = share[:, 1:], base_share[:, 1:]  # position 0 stays dense
    else:
        prompt = max(len(ids) // 4, 1)
        logits, share = runner.stepwise(ids, prompt)
        reference, base_share = base.stepwise(ids, prompt)
        targets = ids[prompt + 1 :]  # predicted by the tokens that were pruned
        logits, reference = logits[1:-1], reference[1:-1]
    if logits.shape[-1] != reference.shape[-1]:
        msg = f"the model has {logits.shape[-1]} tokens and the reference {reference.shape[-1]}; give the model that it was made from"
        raise MismatchError(msg)
    if targets.size and targets.max() >= logits.shape[-1]:
        msg = f"the evaluation data holds token {targets.max()}, and the model has {logits.shape[-1]}; give the ids of its own tokenizer"
        raise BadDatasetError(msg)
    return score(logits, reference, targets), share, base_share


def _result(
    scores: list[WindowScore], view: SparseView, reads: Reads, stock: SparseView, base: Reads, rows: str, positions: np.ndarray
) -> EvaluationResult:
    counts = np.array([s.count for s in scores], np.float64)
    nll, base_nll, kl = (np.array([getattr(s, k) for s in scores]) for k in ("nll", "reference_nll", "kl"))
    total = counts.sum()
    if not total:
        msg = "the evaluation windows are too short to score a token; give a longer text"
        raise UsageError(msg)
    ratio = float(np.exp((nll - base_nll).sum() / total))
    ratio_error = standard_error(nll - base_nll, counts)
    unread = reads.unread()
    dropped, half, whole = reads.channels()
    return EvaluationResult(
        perplexity=float(np.exp(nll.sum() / total)), reference_perplexity=float(np.exp(base_nll.sum() / total)),
        kl_divergence=float(kl.sum() / total), top1_agreement=sum(s.agree for s in scores) / total,
        sparsity=float(unread.mean()) if unread.size else 0.0, dropped=dropped, half=half, whole=whole,
        weight_bytes_per_token=weight_bytes_per_token(view.layers, reads.unread_of(), view.graded),
        reference_weight_bytes_per_token=weight_bytes_per_token(stock.layers, base.unread_of(), stock.graded), sites=reads.by_site(),
        perplexity_ratio=ratio, perplexity_ratio_standard_error=None if ratio_error is None else ratio * ratio_error,
        kl_standard_error=standard_error(kl, counts), sparsity_std=float(unread.std()) if unread.size else 0.0,
        tokens=int(total), windows=len(scores), rows=rows, sparsity_by_position=reads.by_position(positions))  # fmt: skip


def _tokenizer_folder(model: object, reference: object, text: object) -> Path | None:
    if not isinstance(text, (str, Path)):
        return None
    for source in (model, reference):
        if isinstance(source, (str, Path)):
            return model_file(source).parent
    msg = "a text needs a tokenizer to be evaluated; give tokenizer=, or the model as a folder that has one"
    raise UsageError(msg)


def _read(model: ov.Model | str | Path) -> ov.Model:
    return read_model(model) if isinstance(model, (str, Path)) else model.clone()
