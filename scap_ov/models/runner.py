"""Run a model on the samples of a dataset, and tell which rows of what it gives count."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import openvino as ov
from nncf.definitions import NNCF_DATASET_RESET_STATE_KEY

from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.models.dataset import model_inputs
from scap_ov.statistics.collector import Sample
from scap_ov.statistics.observers.reservoir import row_priorities

# Statistics shall not depend on the machine: no bf16, no int8 activations, no compressed KV cache.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
Progress = Callable[[int, "int | None"], None]


class InferenceData(Protocol):
    """What nncf.Dataset is: samples that a model takes, as dicts of arrays by input name, or arrays in the order of the inputs."""

    def get_inference_data(self) -> Iterable[object]:
        """The samples."""


def stream(model: ov.Model, taps: Mapping[str, ov.Output], dataset: InferenceData, *, progress: Progress | None = None) -> Iterator[Sample]:
    """Run every sample of a dataset and yield the tapped tensors; nothing else of the model is computed.

    :param model: becomes part of a new model: give a clone.
    :param taps: outputs of nodes of `model`, by any name.
    :raises BadDatasetError: a sample does not fit the model's inputs.
    """
    # Without the logits the output projection need not be computed, the largest layer of a small model.
    tapped = ov.Model(list(taps.values()), model.get_sinks(), model.get_parameters(), "scap_ov_observe")
    request = ov.Core().compile_model(tapped, "CPU", EXACT).create_infer_request()
    if not hasattr(dataset, "get_inference_data"):
        msg = f"the calibration data is a {type(dataset).__name__}; give an nncf.Dataset, or anything with get_inference_data()"
        raise UsageError(msg)

    def infer(inputs: Mapping[str, np.ndarray], *, reset: bool) -> dict[str, np.ndarray]:
        if reset and tapped.get_sinks():
            request.reset_state()
        request.infer(inputs)
        return {name: request.get_output_tensor(i).data for i, name in enumerate(taps)}

    yield from run_samples(tapped, dataset, infer, progress=progress)


def run_samples(model: Any, dataset: InferenceData, infer: Callable[..., dict[str, np.ndarray]], *,
                progress: Progress | None = None) -> Iterator[Sample]:  # fmt: skip
    """Run every sample of a dataset by `infer`, and tell which rows of what it gives count.

    :param model: has `inputs` with names and shapes: ov.Model or OnnxModel.
    :param infer: called with the inputs by name and `reset`, whether a new sequence starts; raises RuntimeError where they do not fit.
    :raises BadDatasetError: a sample does not fit the model's inputs.
    """
    length = getattr(dataset, "get_length", lambda: None)()
    for index, item in enumerate(dataset.get_inference_data()):
        inputs, reset = _named_inputs(model, item)
        try:
            values = infer(inputs, reset=reset)
        except RuntimeError as e:
            wanted = ", ".join(f"{p.get_any_name()} {p.get_partial_shape()}" for p in model.inputs)
            got = ", ".join(f"{k} {list(np.shape(v))}" for k, v in inputs.items())
            msg = f"sample {index} does not fit the model: it takes {wanted}, got {got} ({str(e).splitlines()[-1].strip()})"
            raise BadDatasetError(msg) from e
        mask, digest = _sequence_mask(inputs, starts=reset), _digest(inputs)
        observed = {name: _observed(value.shape, mask) for name, value in values.items()}
        yield Sample(values, observed, {name: row_priorities(digest, len(keep)) for name, keep in observed.items()})
        if progress:
            progress(index + 1, length)


def _named_inputs(model: Any, item: object) -> tuple[dict[str, np.ndarray], bool]:
    """A sample as a dict of arrays, completed where token ids determine the rest; and whether it starts a new sequence."""
    if isinstance(item, Mapping):
        given = dict(item)
    else:
        parts = item if isinstance(item, (tuple, list)) else [item]
        given = {port.get_any_name(): part for port, part in zip(model.inputs, parts, strict=False)}
    reset = bool(given.pop(NNCF_DATASET_RESET_STATE_KEY, True))
    values = {str(k): np.asarray(v.data if isinstance(v, ov.Tensor) else v) for k, v in given.items()}
    missing = [p for p in model.inputs if not p.get_names() & set(values)]
    if missing and "input_ids" in values and reset:
        values = {**model_inputs(model, values["input_ids"]), **values}
    known = {name for port in model.inputs for name in port.get_names()}
    return {k: v for k, v in values.items() if k in known}, reset


def _sequence_mask(inputs: Mapping[str, np.ndarray], *, starts: bool) -> np.ndarray | None:
    """Which tokens count, bool [B, T]: no padding and not the first of a sequence. None when the sample is no token sequence."""
    ids = inputs.get("input_ids")
    if ids is None or np.ndim(ids) != 2:
        return None
    mask = np.ones(ids.shape, bool)
    if "attention_mask" in inputs and np.ndim(inputs["attention_mask"]) == 2:
        mask = np.asarray(inputs["attention_mask"])[:, -ids.shape[1] :].astype(bool)
    if starts:
        mask = mask & (np.cumsum(mask, axis=1) > 1)
        mask[:, 0] = False
    return mask


def _observed(shape: tuple[int, ...], mask: np.ndarray | None) -> np.ndarray:
    """Which rows of a tensor count, bool [M]."""
    lead = shape[:-1]
    count = int(np.prod(lead))
    if mask is not None and (lead in (mask.shape, (mask.size,))):
        return mask.reshape(-1)
    keep = np.ones(lead, bool)
    if len(lead) == 2 and lead[1] > 1:  # a sequence of something else: patches, frames
        keep[:, 0] = False
    return keep.reshape(count)


def _digest(inputs: Mapping[str, np.ndarray]) -> int:
    """64-bit hash of a sample's content, the same wherever and whenever the sample is seen."""
    digest = hashlib.blake2b(digest_size=8)
    for name in ["input_ids"] if "input_ids" in inputs else sorted(inputs):
        array = np.asarray(inputs[name])
        array = array.astype(np.int64) if array.dtype.kind in "iu" else array
        digest.update(f"{name}{array.shape}{array.dtype.str}".encode() + np.ascontiguousarray(array).tobytes())
    return int.from_bytes(digest.digest(), "little")
