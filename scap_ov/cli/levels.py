"""Options about the levels of a model, and the tables that set levels side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scap_ov.cli.options import parse_levels
from scap_ov.cli.output import Output
from scap_ov.errors import UsageError
from scap_ov.json_values import JsonMapping


def add_levels_option(parser: argparse.ArgumentParser) -> None:
    """--levels, of commands that measure."""
    parser.add_argument(
        "--levels", metavar="all|LIST", help="measure these levels of a model that has several, such as 0,0.4, or all of them"
    )


def add_level_option(parser: argparse.ArgumentParser) -> None:
    """--level, of commands that run a model."""
    parser.add_argument("--level", type=float, metavar="LEVEL", help="level to run with, of a model that has several")


def chosen_levels(args: argparse.Namespace) -> list[float]:
    """What --levels names, as the model has them; nothing where it was left out.

    :raises UsageError: the model has no levels, or not these.
    """
    if args.levels is None:
        return []
    from scap_ov.passes.openvino.level_blocks import level_index, levels_in
    from scap_ov.storage.model_folder import read_model

    own = levels_in(read_model(args.model))
    if own is None:
        msg = f"--levels is '{args.levels}', and {args.model} has no levels; apply it with --levels, or leave the option out"
        raise UsageError(msg)
    if args.levels == "all":
        return list(own.levels)
    return [own.levels[level_index(own.levels, level)] for level in parse_levels(args.levels)]


def tell_losses(levels: Sequence[JsonMapping], out: Output) -> None:
    """The quality of each level, side by side."""
    rows = [(f"{each['level']:g}", f"{each['sparsity']:.1%}", f"{each['perplexity']:.3f}", f"{each['perplexity_ratio']:.4f}",
             f"{each['kl_divergence']:.4f}", f"{each['top1_agreement']:.1%}") for each in levels]  # fmt: skip
    out.table("Levels", ("level", "not read, measured", "perplexity", "ratio", "KL divergence", "same next token"), rows)


def told_share(summary: JsonMapping) -> str:
    """What a token is expected not to read; shares do not count an output projection that is read whole."""
    share = summary["expected_sparsity"]
    aside = share and any(site["kind"] == "lm_head" and not site.get("counted", True) for site in summary["sites"])
    of = "their weight bytes, the output projection's aside," if aside else "their weight bytes"
    return f"{share:.1%} of {of} not read per token (expected)"


def tell_planned(summary: JsonMapping, out: Output) -> None:
    """What each level was planned to read, of a model that has several."""
    if not summary.get("levels"):
        return
    rows = [(f"{each['level']:g}{' (start)' if each['level'] == summary['start_level'] else ''}", f"{each['expected_sparsity']:.1%}",
             f"{100 * each['dropped']:.0f}/{100 * each['half']:.0f}/{100 * each['whole']:.0f}") for each in summary["levels"]]  # fmt: skip
    out.table("Levels", ("level", "not read", "dropped/half/whole"), rows)
