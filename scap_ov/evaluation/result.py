"""EvaluationResult: the figures of `evaluate` and `scap-ov eval`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SiteSparsity:
    """Sparsity of one site, measured on the evaluation text.

    :param sparsity: share of its weight bytes that were not read, mean over the pruned tokens.
    :param sparsity_std: standard deviation of that share over the pruned tokens.
    :param dropped: share of its channels that were not read at all.
    :param half: share of its channels of which the high plane was read.
    """

    name: str
    sparsity: float
    sparsity_std: float
    dropped: float
    half: float


@dataclass(frozen=True)
class PositionSparsity:
    """Model-wide share of the weight bytes that were not read at neighbouring positions of the windows, over the pruned tokens.

    :param position: the first of them; 0 is the first token of a window.
    :param mean: over the tokens there.
    :param low: tenth percentile.
    :param high: ninetieth percentile.
    """

    position: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class EvaluationResult:
    """Model against reference on the same windows of text. Standard errors are paired, over windows; None with one window.

    :param kl_divergence: mean KL(reference ‖ model) of the next-token distributions, in nats.
    :param top1_agreement: share of positions where both rank the same token first.
    :param sparsity: model-wide share of the weight bytes that were not read, over the pruned tokens.
    :param dropped: model-wide share of channels that were not read, weighted by weight count; `half` of those that were read by half,
        `whole` of the others.
    :param weight_bytes_per_token: expected bytes of weights, scales and zero points that one decoded token reads.
    :param sparsity_by_position: in at most 32 steps along the windows; nothing where no site was measured.
    :param rows: `all`: whole windows in one pass, every row but the first pruned; `decode`: token by token behind a prompt.
    """

    perplexity: float
    reference_perplexity: float
    kl_divergence: float
    top1_agreement: float
    sparsity: float
    dropped: float
    half: float
    whole: float
    weight_bytes_per_token: float
    reference_weight_bytes_per_token: float
    sites: tuple[SiteSparsity, ...]
    perplexity_ratio: float
    perplexity_ratio_standard_error: float | None
    kl_standard_error: float | None
    sparsity_std: float
    tokens: int
    windows: int
    rows: str
    sparsity_by_position: tuple[PositionSparsity, ...] = ()
