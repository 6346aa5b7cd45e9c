"""What is gained and what is lost, in one sentence, from the figures that are there."""

from __future__ import annotations

from scap_ov.json_values import JsonMapping


def verdict(summary: JsonMapping, evaluation: JsonMapping, benchmark: JsonMapping) -> str:
    """A sentence for people, and what to run for the figures that are missing.

    :param summary: of the model's record, as `storage.rt_info.summarise` makes it.
    :param evaluation: figures of `scap-ov eval`, or nothing.
    :param benchmark: figures of `scap-ov bench`, or nothing.
    """
    gained, lost = _gained(benchmark), _lost(evaluation)
    share = evaluation["sparsity"] if evaluation else summary["expected_sparsity"]
    how = "" if evaluation else ", as calibration expects"
    unread = f"{share:.0%} of the weight bytes of its block layers are not read per token{how}"
    if gained and lost:
        return f"The pruned model {gained}, and {lost}; {unread}."
    if gained:
        return f"The pruned model {gained}; {unread}. Its loss was not measured: give --reference and --data with --measure."
    if lost:
        return f"The pruned model {lost}; {unread}. Its speed was not measured: give --reference with --measure."
    return f"In the pruned model {unread}. Neither speed nor loss was measured: give --reference, --data and --measure."


def _gained(benchmark: JsonMapping) -> str:
    if not benchmark:
        return ""
    speed = benchmark["decode_speedup"]
    before, after = (benchmark[side]["decode_tokens_per_s"]["median"] for side in ("reference", "model"))
    memory = benchmark["model"]["peak_rss_bytes"]["median"] / benchmark["reference"]["peak_rss_bytes"]["median"]
    verb = f"decodes {speed:.2f} times as fast as stock" if speed >= 1 else f"decodes at {speed:.2f} of the speed of stock, so slower"
    return f"{verb} ({before:.0f} → {after:.0f} tokens/s) with {memory:.2f} times the peak memory"


def _lost(evaluation: JsonMapping) -> str:
    if not evaluation:
        return ""
    before, after = evaluation["reference_perplexity"], evaluation["perplexity"]
    change = after / before - 1
    verb = "raises" if change >= 0 else "lowers"
    return (f"{verb} the perplexity by {abs(change):.1%} ({before:.2f} → {after:.2f}; "
            f"KL {evaluation['kl_divergence']:.3f} nats per token, the same next token in {evaluation['top1_agreement']:.0%})")  # fmt: skip
