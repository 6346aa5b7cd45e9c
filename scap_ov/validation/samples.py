"""What two models are compared on: text, arrays of an .npz file, or random tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from scap_ov.errors import BadDatasetError, UsageError, reason_of
from scap_ov.models.tensors import port_name
from scap_ov.models.text import is_blank
from scap_ov.models.windows import text_windows
from scap_ov.validation.runner import Runner

RANDOM_SAMPLES, RANDOM_TOKENS = 4, 24
STEPS = 8  # tokens at the end of each sample that are run one by one, as in decoding
_SAFE_VOCABULARY = 1000  # no tokenizer in use has fewer tokens

Encoder = Callable[[], Callable[[str], Sequence[int]]]  # gives the function from text to token ids


@dataclass(frozen=True)
class ValidationInput:
    """Inputs of one run, and what they are called in messages.

    :param ids: the next tokens of a sequence, int64 [1, T]; or None.
    :param inputs: all inputs by name, when there are no tokens.
    :param first: begins a sequence.
    """

    ids: np.ndarray | None
    inputs: dict[str, np.ndarray]
    first: bool


def pieces(a: Runner, b: Runner, data: str | None, encode: Encoder, *, tokens: int, window: int) -> Iterator[ValidationInput]:
    """Inputs for both models. Sequences are run as a prompt and STEPS single tokens where both can: long steps may be dense.

    :param data: a text file or .jsonl, an .npz, or None for random inputs.
    :param encode: gives the tokenizer, when there is text.
    :param tokens: most tokens in all.
    :param window: tokens of a sample.
    :raises BadDatasetError: there is no such file, or it does not say what the models need.
    """
    if data is not None and data.lower().endswith(".npz"):
        yield from _arrays(Path(data))
        return
    if not a.takes_tokens:
        if data is not None:
            msg = f"the models take {', '.join(a.names)}, not tokens; give --data an .npz file with these arrays"
            raise UsageError(msg)
        yield from _random_arrays(a)
        return
    step_by_step = a.continues and b.continues
    for sample in _random_tokens(a) if data is None else _text(data, encode, tokens, window):
        split = max(len(sample) - STEPS, 1) if step_by_step else len(sample)
        yield ValidationInput(np.array([sample[:split]], np.int64), {}, True)
        for token in sample[split:]:
            yield ValidationInput(np.array([[token]], np.int64), {}, False)


def _text(data: str, encode: Encoder, tokens: int, window: int) -> list[list[int]]:
    path = Path(data)
    if not path.is_file():
        msg = f"--data {data}: there is no such file; give a text file, a .jsonl or an .npz"
        raise BadDatasetError(msg)
    if is_blank(path):
        msg = f"--data {data} is empty; give a text of some hundred words"
        raise BadDatasetError(msg)
    return [np.asarray(ids).reshape(-1).tolist() for ids in text_windows(path, encode(), window=window, max_tokens=tokens)]


def _arrays(path: Path) -> Iterator[ValidationInput]:
    try:
        with np.load(path) as held:
            inputs = {name: held[name] for name in held.files}
    except (OSError, ValueError, BadZipFile) as e:
        msg = f"--data {path} cannot be read as an .npz file ({reason_of(e)}); write it with numpy.savez(path, name=array, ...)"
        raise BadDatasetError(msg) from e
    yield ValidationInput(None, inputs, True)


def _random_tokens(a: Runner) -> list[list[int]]:
    ids = np.random.default_rng(0).integers(0, min(a.vocabulary or _SAFE_VOCABULARY, _SAFE_VOCABULARY), (RANDOM_SAMPLES, RANDOM_TOKENS))
    return ids.tolist()


def _random_arrays(a: Runner) -> Iterator[ValidationInput]:
    """Normal numbers for models that take no tokens; every dynamic dimension becomes 3."""
    rng = np.random.default_rng(0)
    for _ in range(RANDOM_SAMPLES):
        inputs = {}
        for port in a.ports:
            shape = port.get_partial_shape()
            if shape.rank.is_dynamic or not port.get_element_type().is_real():
                msg = f"no data can be made up for the input {port_name(port)} {shape}; give --data an .npz file"
                raise UsageError(msg)
            sizes = [3 if dim.is_dynamic else dim.get_length() for dim in shape]
            inputs[port_name(port)] = rng.standard_normal(sizes).astype(port.get_element_type().to_dtype())
        yield ValidationInput(None, inputs, True)
