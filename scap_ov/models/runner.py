"""Run a model on the samples of a dataset, and tell which rows of what it gives count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
import openvino as ov

from scap_ov.errors import BadDatasetError, UsageError, reason_of
from scap_ov.models.openvino_session import OpenVINOSession
from scap_ov.models.sample import SampleReader, counted_rows
from scap_ov.models.tensors import Port, port_name, rebuilt
from scap_ov.passes.openvino.time_axis import batch_first, time_first
from scap_ov.progress import Progress
from scap_ov.statistics.collector import Sample
from scap_ov.statistics.observers.reservoir import row_priorities

# Statistics shall not depend on the machine: no bf16, no int8 activations, no compressed KV cache.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}


class InferenceData(Protocol):
    """What nncf.Dataset is: samples that a model takes, as dicts of arrays by input name, or arrays in the order of the inputs."""

    def get_inference_data(self) -> Iterable[object]:
        """The samples."""


def stream(model: ov.Model, taps: Mapping[str, ov.Output], dataset: InferenceData, *, progress: Progress | None = None) -> Iterator[Sample]:
    """Run every sample of a dataset and yield the tapped tensors; nothing else of the model is computed.

    :param model: becomes part of a new model: give a clone.
    :param taps: outputs of nodes of `model`, by any name; those that are [T, B, K] are given as [B, T, K].
    :raises BadDatasetError: a sample does not fit the model's inputs.
    """
    reader = SampleReader(model)
    turned = time_first(model, list(taps.values()))
    values = [batch_first(tap) if turn else tap for tap, turn in zip(taps.values(), turned, strict=True)]
    # Without the logits the output projection need not be computed, the largest layer of a small model.
    tapped = rebuilt(model, values, "scap_ov_observe")
    session = OpenVINOSession(tapped, taps, EXACT)

    def infer(inputs: Mapping[str, np.ndarray], *, reset: bool) -> dict[str, np.ndarray]:
        if reset:
            session.start()
        return session.run(inputs)

    yield from run_samples(reader, dataset, infer, progress=progress)


def samples_of(dataset: InferenceData) -> Iterator[object]:
    """The samples of a dataset.

    :raises UsageError: it is no dataset.
    """
    if not hasattr(dataset, "get_inference_data"):
        msg = f"the calibration data is a {type(dataset).__name__}; give an nncf.Dataset, or anything with get_inference_data()"
        raise UsageError(msg)
    given = dataset.get_inference_data()
    if not isinstance(given, Iterable):
        msg = f"get_inference_data() of the calibration data gives a {type(given).__name__}; it is to give the samples, one after the other"
        raise UsageError(msg)
    yield from given


def run_samples(reader: SampleReader, dataset: InferenceData, infer: Callable[..., dict[str, np.ndarray]], *,
                progress: Progress | None = None) -> Iterator[Sample]:  # fmt: skip
    """Run every sample of a dataset by `infer`, and tell which rows of what it gives count.

    :param infer: called with the inputs by name and `reset`, whether a new sequence starts; raises RuntimeError where they do not fit.
    :raises BadDatasetError: a sample does not fit the model's inputs.
    """
    length = getattr(dataset, "get_length", lambda: None)()
    for index, item in enumerate(samples_of(dataset)):
        sample = reader.read(item, index)
        try:
            values = infer(sample.values, reset=sample.starts)
        except RuntimeError as e:
            raise BadDatasetError(misfit(f"sample {index} does not fit the model", reader.ports, sample.values, e)) from e
        digest = sample.digest()
        observed = {name: counted_rows(value.shape, sample.mask) for name, value in values.items()}
        yield Sample(values, observed, {name: row_priorities(digest, len(keep)) for name, keep in observed.items()})
        if progress:
            progress(index + 1, length)


def misfit(what: str, ports: Iterable[Port], inputs: Mapping[str, np.ndarray], error: Exception) -> str:
    """The sentence that says what a model takes, what it got, and what its runtime made of that."""
    wanted = ", ".join(f"{port_name(port)} {port.get_partial_shape()}" for port in ports)
    got = ", ".join(f"{name} {list(np.shape(value))}" for name, value in inputs.items())
    return f"{what}: it takes {wanted}, got {got or 'nothing that it has'} ({reason_of(error)})"
