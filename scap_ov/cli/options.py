"""Options that several commands share: the fields of SparsityConfig, the data to run on, --json."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from scap_ov.cli.files import OutputFile
from scap_ov.config import CHOICES, SparsityConfig
from scap_ov.errors import UsageError, reason_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST = 2**31 - 1  # what every library below takes as a count or a seed
_HELP = {
    "target_sparsity": "share of the weight bytes that a token does not read: 0.5, or per site kind or name: up=0.4,down=0.6",
    "method": "graded (default), adaptive (pruning alone), or a published recipe",
    "center": "centre of method scap",
    "ramp": "width of the ramp above each threshold, in thresholds; with 1 other runtimes write the same text, at a cost in quality",
    "scope": "all block layers, or those of the ffn only",
    "rows": "decode prunes short steps, all prunes every row",
    "max_sparse_rows": "most rows of a step that is pruned",
    "replace": "where_faster leaves a layer stock where the op would lose",
    "drift_correction": "scale thresholds by the drift that calibration measured behind pruned layers (default: on)",
    "dynamic_quantization": "quantise activations to int8 for int4/int8 weights, as stock does on VNNI machines",
    "compensation": "learn a constant per layer that pruned rows add to their output",
    "lm_head": "prune the output projection as other layers, or leave it stock; else it goes through the op whole, if that is faster",
    "weight_format": "int8 brings float weights into 8 bits first, so that they can be read by half",
    "levels": "several shares that one model holds at once, such as 0,0.25,0.4,0.5; one is chosen at run time",
    "fewer_experts": "share of the bytes of routed experts to do without by choosing fewer of them per token (default 0: all)",
    "fuse_blocks": "write one op for all that lies between the attention of two blocks, which decodes faster (default: on)",
    "ignored_scope": "name or re:pattern of sites or layers to leave alone; may be repeated",
}


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """One option per field of SparsityConfig, and --config for a TOML file with the same names."""
    group = parser.add_argument_group("what to prune and how", "the same names are keys of the TOML file")
    group.add_argument("--config", metavar="FILE.toml", help="read options from this file; those on the command line win")
    for field in dataclasses.fields(SparsityConfig):
        option = "--" + field.name.replace("_", "-")
        text = _HELP.get(field.name, "see SparsityConfig")
        common: dict[str, Any] = {"dest": f"config_{field.name}", "default": argparse.SUPPRESS}
        if field.name == "ignored_scope":
            group.add_argument(option, "--ignore", action="append", metavar="PATTERN", help=text, **common)
        elif isinstance(field.default, bool) or field.name == "lm_head":  # whose default is neither: auto
            group.add_argument(option, action=argparse.BooleanOptionalAction, help=text, **common)
        elif field.name in CHOICES:  # checked by SparsityConfig, which names the nearest valid value
            group.add_argument(option, metavar="|".join(CHOICES[field.name]), help=text, **common)
        else:
            group.add_argument(option, metavar="N" if isinstance(field.default, int) else "VALUE", help=text, **common)


def read_config(args: argparse.Namespace) -> SparsityConfig:
    """The configuration from --config and the options.

    :raises UsageError: the file cannot be read, or a value is not allowed.
    """
    values: dict[str, Any] = {}
    if args.config is not None:
        try:
            values = tomllib.loads(Path(args.config).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as e:  # a TOMLDecodeError is a ValueError
            msg = f"--config {args.config} cannot be read ({reason_of(e)}); give a TOML file with keys such as target_sparsity = 0.5"
            raise UsageError(msg) from e
    defaults = {f.name: f.default for f in dataclasses.fields(SparsityConfig)}
    for key, value in vars(args).items():
        if key.startswith("config_"):
            name = key.removeprefix("config_")
            values[name] = _number(name, value, defaults[name])
    return SparsityConfig.from_dict(values)


def _number(name: str, value: Any, default: object) -> object:
    if name == "target_sparsity":
        return parse_target(value)
    if name == "levels":
        return parse_levels(value)
    if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
        try:
            return type(default)(value)
        except ValueError as e:
            msg = f"{name} is '{value}'; give a number such as {default}"
            raise UsageError(msg) from e
    return value


def parse_target(text: str) -> float | dict[str, float]:
    """`0.5`, or `up=0.4,down=0.6`.

    :raises UsageError: it is neither.
    """
    try:
        if "=" not in text:
            return float(text)
        pairs = [(key.strip(), float(value)) for key, value in (part.rsplit("=", 1) for part in text.split(","))]
    except ValueError as e:
        msg = f"target_sparsity is '{text}'; give a share such as 0.5, or one per kind such as up=0.4,down=0.6"
        raise UsageError(msg) from e
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        msg = f"target_sparsity is '{text}', which names {', '.join(twice)} twice; give one share for each"
        raise UsageError(msg)
    return dict(pairs)


def parse_levels(text: str) -> list[float]:
    """`0,0.25,0.5`.

    :raises UsageError: it is no such list.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as e:
        msg = f"levels are '{text}'; give shares such as 0,0.25,0.4,0.5"
        raise UsageError(msg) from e


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """--json, and --overwrite for it and all other files that a command writes: on every command that prints figures."""
    parser.add_argument("--json", type=OutputFile, metavar="FILE", help="write the figures as JSON to this file; - for standard output")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def add_data_options(parser: argparse.ArgumentParser, *, default: str | None, tokens: int) -> None:
    """--data and how much of it."""
    group = parser.add_argument_group("data")
    text = 'a text file, a .jsonl with a "text" key, or `self`: text that the model itself generates'
    group.add_argument("--data", default=default, required=default is None, metavar="FILE|self", help=text)
    group.add_argument("--tokens", type=positive, default=tokens, metavar="N", help=f"use at most this many tokens (default {tokens})")
    group.add_argument("--window", type=positive, default=512, metavar="N", help="tokens per window (default 512)")
    group.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of `self` text (default 0)")


def positive(text: str) -> int:
    """A whole number above zero, as argparse type."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """A seed, as argparse type."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError as e:
        msg = f"'{text}' is no whole number; give one from {least} to {MOST}"
        raise argparse.ArgumentTypeError(msg) from e
    if not least <= value <= MOST:
        msg = f"{text} is out of range; give a whole number from {least} to {MOST}"
        raise argparse.ArgumentTypeError(msg)
    return value
