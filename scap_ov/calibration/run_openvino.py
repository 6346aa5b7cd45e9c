"""Run an OpenVINO model on calibration data and observe the input of every site. After: passes.openvino.find_sites."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from nncf.definitions import NNCF_DATASET_RESET_STATE_KEY

from scap_ov.calibration.dataset import model_inputs
from scap_ov.calibration.observers import OBSERVERS, HistogramObserver
from scap_ov.calibration.observers.reservoir import row_priorities
from scap_ov.calibration.weight_summary import summarise_weights
from scap_ov.errors import BadDatasetError, BadModelError
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.profile import CalibrationProfile, SiteStatistics, capacity_for
from scap_ov.sites import SiteKind

# Statistics shall not depend on the machine: no bf16, no int8 activations, no compressed KV cache.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
LARGEST = 1e8  # squares of larger values would leave the range of the exact sums; no sane activation comes near
_ACTIVATIONS = ("Swish", "Gelu", "Relu", "Sigmoid", "HSwish", "Mish", "SoftPlus")

Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Sample:
    """The activations of one sample.

    :param values: by name of the tapped tensor, float32 of the tensor's own shape; valid until the next sample.
    :param observed: by name, which rows count, bool [M] with M the product of the leading dimensions.
    :param priority: by name, a hash of each row's origin, uint64 [M].
    """

    values: Mapping[str, np.ndarray]
    observed: Mapping[str, np.ndarray]
    priority: Mapping[str, np.ndarray]

    def rows(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Observed rows of a tensor, float32 [M', K], and their priorities, uint64 [M']."""
        value, keep = self.values[name], self.observed[name]
        return value.reshape(-1, value.shape[-1])[keep], self.priority[name][keep]


def observe(model: ov.Model, dataset: Any, *, capacity: int | None = None, progress: Progress | None = None) -> CalibrationProfile:
    """Stream a dataset through a model and keep bounded statistics of every site's input.

    1. The model is cloned; the one that was given is not changed.
    2. Position 0 of each sequence, and padding, is not observed: it is computed dense later on.
    3. Memory does not grow with the number of samples.

    :param dataset: nncf.Dataset, or anything with `get_inference_data()`.
    :param capacity: rows to keep per site; None for what `profile.capacity_for` allows.
    :param progress: called with (samples done, samples or None).
    :raises BadDatasetError: the data is empty, does not fit the model's inputs, or gives NaN or infinite activations.
    :raises BadModelError: the model has no fully connected layer that could be pruned.
    """
    clone = model.clone()
    matches = find_sites(clone, lm_head=True).matches
    if not matches:
        msg = "the model has no fully connected layer that could be pruned; give a Transformer exported by optimum-cli export openvino"
        raise BadModelError(msg)
    sites = tuple(match.site for match in matches)
    taps = {match.site.name: match.source for match in matches}
    for match in matches:
        gate = gate_activation(match.source) if match.site.kind is SiteKind.DOWN else None
        if gate is not None:
            taps[f"{match.site.name}|gate"] = gate
    capacity = capacity_for(sites) if capacity is None else capacity
    observers = {s.name: [make(s.in_features, capacity) for make in OBSERVERS] for s in sites}
    gates = {name: HistogramObserver() for name in taps if name.endswith("|gate")}
    counts = dict.fromkeys(observers, 0)
    samples = 0
    for sample in stream(clone, taps, dataset, progress=progress):
        samples += 1
        for name, own in observers.items():
            rows, priority = sample.rows(name)
            counts[name] += len(rows)
            if len(rows):
                _check(rows, name, samples)
                for observer in own:
                    observer.update(rows, priority)
        for name, histogram in gates.items():
            histogram.update(np.abs(sample.rows(name)[0]))
    _check_counts(counts, samples)
    statistics = {}
    for match in matches:
        name = match.site.name
        tensors = {key: value for o in observers.pop(name) for key, value in o.result().items()}
        tensors |= summarise_weights(match.weights, match.site.in_features)
        if f"{name}|gate" in gates:
            tensors["gate_histogram"] = gates[f"{name}|gate"].result()["histogram"]
        statistics[name] = SiteStatistics(counts[name], tensors)
    metadata = {"samples": samples, "tokens": max(counts.values()), "sequential": False}
    return CalibrationProfile(fingerprint(model), sites, statistics, capacity, {}, metadata)


def stream(model: ov.Model, taps: Mapping[str, ov.Output], dataset: Any, *, progress: Progress | None = None) -> Iterator[Sample]:
    """Run every sample of a dataset and yield the tapped tensors; nothing else of the model is computed.

    :param model: becomes part of a new model: give a clone.
    :param taps: outputs of nodes of `model`, by any name.
    :raises BadDatasetError: a sample does not fit the model's inputs.
    """
    # Without the logits the output projection need not be computed, the largest layer of a small model.
    tapped = ov.Model(list(taps.values()), model.get_sinks(), model.get_parameters(), "scap_ov_observe")
    request = ov.Core().compile_model(tapped, "CPU", EXACT).create_infer_request()
    source = dataset.get_inference_data() if hasattr(dataset, "get_inference_data") else dataset
    length = getattr(dataset, "get_length", lambda: None)()
    for index, item in enumerate(source):
        inputs, reset = _named_inputs(tapped, item)
        if reset and tapped.get_sinks():
            request.reset_state()
        try:
            request.infer(inputs)
        except RuntimeError as e:
            wanted = ", ".join(f"{p.get_any_name()} {p.get_partial_shape()}" for p in tapped.inputs)
            got = ", ".join(f"{k} {list(np.shape(v))}" for k, v in inputs.items())
            msg = f"sample {index} does not fit the model: it takes {wanted}, got {got} ({str(e).splitlines()[-1].strip()})"
            raise BadDatasetError(msg) from e
        values = {name: request.get_output_tensor(i).data for i, name in enumerate(taps)}
        mask, digest = _sequence_mask(inputs, starts=reset), _digest(inputs)
        observed = {name: _observed(value.shape, mask) for name, value in values.items()}
        yield Sample(values, observed, {name: row_priorities(digest, len(keep)) for name, keep in observed.items()})
        if progress:
            progress(index + 1, length)


def gate_activation(source: ov.Output) -> ov.Output | None:
    """The activated gate of a gated FFN: the factor act(gate) of the product act(gate)·up that feeds a down site."""
    node = source.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Multiply":
        return None
    for factor in node.input_values():
        if factor.get_node().get_type_name() in _ACTIVATIONS:
            return factor
        parts = factor.get_node().input_values()  # x·sigmoid(x), spelt out
        if factor.get_node().get_type_name() == "Multiply" and any(p.get_node().get_type_name() == "Sigmoid" for p in parts):
            return factor
    return None


def _named_inputs(model: ov.Model, item: Any) -> tuple[dict[str, np.ndarray], bool]:
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
    if mask is not None and (lead == mask.shape or lead == (mask.size,)):
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


def _check(rows: np.ndarray, name: str, sample: int) -> None:
    peak = float(np.abs(rows).max())
    if not peak <= LARGEST:  # also true for NaN
        what = "NaN" if np.isnan(peak) else "infinite values" if np.isinf(peak) else f"values of {peak:.1e}"
        msg = f"the input of site {name} has {what} on sample {sample - 1}; check the sample's inputs and the model's weights"
        raise BadDatasetError(msg)


def _check_counts(counts: Mapping[str, int], samples: int) -> None:
    if not samples:
        msg = "the calibration dataset is empty; give at least one sample"
        raise BadDatasetError(msg)
    bare = [name for name, count in counts.items() if not count]
    if bare:
        msg = (f"the {samples} calibration samples gave no row to {len(bare)} sites ({', '.join(bare[:3])}, …); the first token of a "
               "sequence does not count, so give samples of two tokens and more")
        raise BadDatasetError(msg)
