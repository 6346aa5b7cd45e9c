"""Turn --data into a calibration dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.arguments import check_path
from scap_ov.cli.output import Output
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.models.text import is_blank
from scap_ov.storage.model_files import model_file

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData
    from scap_ov.models.tensors import HasInputs


def data_path(text: str) -> Path:
    """The file that --data names.

    :raises BadDatasetError: there is no such file.
    """
    path = check_path("--data", text, "a text file, a .jsonl, or self")
    if not path.is_file():
        msg = f"--data {text}: there is no such file; give a text file, a .jsonl, or self"
        raise BadDatasetError(msg)
    return path


def calibration_dataset(args: argparse.Namespace, model: HasInputs, out: Output, *, shard: tuple[int, int] | None = None) -> InferenceData:
    """An nncf.Dataset for `model`, from the options of `add_data_options`.

    :param model: the opened model; its folder, `args.model`, must hold a tokenizer.
    :param shard: (number, count): one part of the data. Of `self`, a part is text of its own, with a seed of its own.
    """
    from scap_ov.calibration.split import Shard
    from scap_ov.models.dataset import self_dataset, text_dataset

    file = model_file(args.model)
    window = min(args.window, args.tokens)
    if window < 2:
        msg = f"--tokens {args.tokens} and --window {args.window} leave no window of two tokens; give more"
        raise UsageError(msg)
    if args.data == "self":
        number, count = shard or (1, 1)
        tokens = max(-(-args.tokens // count), window)
        with out.progress("the model writes its calibration text (tokens)") as bar:
            return self_dataset(file, tokens=tokens, seed=args.seed * count + number - 1, seq_len=window, progress=bar)
    text = data_path(args.data)
    if is_blank(text):
        msg = f"--data {args.data} is empty; give a text of some 16,000 tokens"
        raise BadDatasetError(msg)
    dataset = text_dataset(text, file.parent, model, seq_len=window, max_tokens=args.tokens)
    return dataset if shard is None else Shard(dataset, *shard)
