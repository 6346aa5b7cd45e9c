"""Read one sample of a dataset: arrays by input name, checked, completed where tokens determine the rest; and which of its rows count."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from nncf.definitions import NNCF_DATASET_RESET_STATE_KEY

from scap_ov.errors import BadDatasetError
from scap_ov.models.inputs import Inputs, Role
from scap_ov.models.tensors import HasInputs, array_of

_EXPECTED = "give a dict of arrays by input name, an array, or a tuple of arrays in the order of the inputs"


@dataclass(frozen=True)
class ReadSample:
    """One sample, ready to be run.

    :param values: by name of the input.
    :param starts: begins a sequence, rather than going on with the one before.
    :param mask: which tokens count, bool [B, T]: no padding, and not the first of a sequence; None when it is no sequence.
    """

    values: dict[str, np.ndarray]
    starts: bool
    mask: np.ndarray | None

    def digest(self) -> int:
        """64-bit hash of the content, the same wherever and whenever the sample is seen."""
        digest = hashlib.blake2b(digest_size=8)
        for name in ["input_ids"] if "input_ids" in self.values else sorted(self.values):
            array = np.asarray(self.values[name])
            array = array.astype(np.int64) if array.dtype.kind in "iu" else array
            digest.update(f"{name}{array.shape}{array.dtype.str}".encode() + np.ascontiguousarray(array).tobytes())
        return int.from_bytes(digest.digest(), "little")


class SampleReader:
    """Reads the samples that a model is given.

    1. Token ids may come as one sequence, [T] or a list; that is a batch of one.
    2. A lone array of a model that takes tokens is the tokens, whatever the order of its inputs.
    3. Masks, positions, and an empty past are added where they are missing; positions count from the first token that is no padding.
    4. Inputs that the model does not have are left out, as `labels` is.

    :param model: ov.Model or OnnxModel.
    """

    def __init__(self, model: HasInputs) -> None:
        self.ports = list(model.inputs)
        self._inputs = Inputs(model)
        self._order = list(self._inputs.roles)
        self._vocabulary = self._inputs.vocabulary()

    def read(self, item: object, index: int) -> ReadSample:
        """One sample.

        :param index: its number in the dataset, for messages.
        :raises BadDatasetError: it is no sample, holds no token, or tokens that the model does not know.
        """
        given = self._by_name(item, index)
        starts = bool(given.pop(NNCF_DATASET_RESET_STATE_KEY, True))
        values = {}
        for key, value in given.items():
            name = self._inputs.canonical(str(key))
            if name is not None:
                values[name] = self._array(name, value, index)
        for name in self._inputs.named(Role.TOKENS):
            if name in values:
                self._check_tokens(name, values[name], index)
        size = self._inputs.sequence(values)
        if size is not None and not size[0] * size[1]:
            msg = f"sample {index} holds no token; leave it out, or give one of two tokens and more"
            raise BadDatasetError(msg)
        if size is not None and starts and len(values) < len(self._order):
            mask = next((values[name] for name in self._inputs.named(Role.MASK) if name in values), None)
            values = {**self._inputs.made(*size, mask=mask), **values}
        return ReadSample(values, starts, self._mask(values, size, starts=starts))

    def _by_name(self, item: object, index: int) -> dict[str, object]:
        if isinstance(item, Mapping):
            return dict(item)
        if item is None or isinstance(item, (str, bytes, bool, int, float)):
            what = "None" if item is None else f"a {type(item).__name__}"
            msg = f"sample {index} is {what}; {_EXPECTED}"
            raise BadDatasetError(msg)
        numbers = isinstance(item, (list, tuple)) and bool(item) and all(np.isscalar(part) for part in item)
        parts = [item] if numbers or not isinstance(item, (tuple, list)) else list(item)
        tokens = self._inputs.named(Role.TOKENS)
        if len(parts) == 1 and tokens:
            return {tokens[0]: parts[0]}
        return dict(zip(self._order, parts, strict=False))

    def _array(self, name: str, value: object, index: int) -> np.ndarray:
        try:
            array = array_of(value) if isinstance(value, ov.Tensor) else np.asarray(value)
        except ValueError as e:  # sequences of several lengths
            msg = f"sample {index}: its {name} is no array of numbers ({e}); rows of one sample must be equally long, so pad them"
            raise BadDatasetError(msg) from e
        if array.dtype.kind not in "iufb" and array.dtype.name != "bfloat16":
            msg = f"sample {index}: its {name} is a {type(value).__name__} of {array.dtype}, not of numbers; {_EXPECTED}"
            raise BadDatasetError(msg)
        batched = self._inputs.roles[name] in (Role.TOKENS, Role.MASK, Role.POSITIONS, Role.TYPES)
        return array[None] if batched and array.ndim == 1 and self._inputs.rank(name) == 2 else array

    def _check_tokens(self, name: str, ids: np.ndarray, index: int) -> None:
        if ids.dtype.kind == "f" and not np.array_equal(ids, np.round(ids)):
            msg = f"sample {index}: its {name} holds {ids[ids != np.round(ids)][0]}, which is no token id; give integers"
            raise BadDatasetError(msg)
        limit = self._vocabulary
        wrong = ids[(ids < 0) | (ids >= limit)] if limit else ids[ids < 0]
        if wrong.size:
            known = f"the model knows 0 to {limit - 1}" if limit else "token ids are 0 or more"
            found = int(wrong.reshape(-1)[0])
            msg = f"sample {index}: its {name} holds {found}, and {known}; use the model's own tokenizer, and no -100 as in labels"
            raise BadDatasetError(msg)

    def _mask(self, values: Mapping[str, np.ndarray], size: tuple[int, int] | None, *, starts: bool) -> np.ndarray | None:
        if size is None:
            return None
        mask = np.ones(size, bool)
        given = next((np.asarray(values[name]) for name in self._inputs.named(Role.MASK) if name in values), None)
        if given is not None and given.ndim == 2 and given.shape[1] >= size[1]:
            mask = np.broadcast_to(given[:, -size[1] :].astype(bool), size).copy()
        if starts:
            mask = mask & (np.cumsum(mask, axis=1) > 1)
            mask[:, 0] = False
        return mask


def counted_rows(shape: tuple[int, ...], mask: np.ndarray | None) -> np.ndarray:
    """Which rows of a tensor count, bool [M] with M the product of its leading dimensions.

    :param shape: of the tensor, [..., K], its rows in the order of the mask.
    :param mask: of the sample, bool [B, T], or None.
    """
    lead = tuple(shape[:-1])
    if mask is not None and int(np.prod(lead)) == mask.size:
        return mask.reshape(-1)
    if mask is not None and mask.size > 1 and len(lead) == 2 and lead[0] == mask.size:  # several rows for each token
        return np.repeat(mask.reshape(-1), lead[1])
    keep = np.ones(lead, bool)
    if len(lead) == 2 and lead[1] > 1:  # a sequence of something else: patches, frames
        keep[:, 0] = False
    return keep.reshape(-1)
