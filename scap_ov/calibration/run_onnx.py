"""Run an ONNX model in onnxruntime on calibration data and observe the input of every site. After: passes.onnx.find_sites.

What counts as a row, and the statistics, are those of observe.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from scap_ov.calibration.site_taps import site_taps
from scap_ov.models.onnx_model import OnnxModel
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.models.opened_onnx import OpenedOnnx, opened_onnx
from scap_ov.models.runner import InferenceData, run_samples
from scap_ov.models.sample import SampleReader
from scap_ov.passes.onnx.find_sites import FoundSites
from scap_ov.passes.onnx.time_axis import time_first
from scap_ov.progress import Progress
from scap_ov.statistics.collector import collect
from scap_ov.statistics.profile import CalibrationProfile


def observe(
    model: OnnxModel | OpenedOnnx, dataset: InferenceData, *, capacity: int | None = None, progress: Progress | None = None
) -> CalibrationProfile:
    """Stream a dataset through a model and keep bounded statistics of every site's input; as observe.observe.

    :param dataset: nncf.Dataset, or anything with `get_inference_data()`; of token ids alone, the other inputs are made from them.
    :param capacity: rows to keep per site; None for what `profile.capacity_for` allows.
    :param progress: called with (samples done, samples or None).
    :raises BadDatasetError: the data is empty, does not fit the model's inputs, or gives NaN or infinite activations.
    :raises BadModelError: the model has no fully connected layer that could be pruned, or onnxruntime refuses it.
    """
    opened = opened_onnx(model)
    found, model = opened.found, opened.model
    matches = found.some()
    taps = tapped_values(found)
    turned = {name for name, turn in zip(taps, time_first(model.graph_model, list(taps.values())), strict=True) if turn}
    session = OnnxSession(model, taps.values())

    def infer(inputs: Mapping[str, np.ndarray], *, reset: bool) -> dict[str, np.ndarray]:
        del reset  # an ONNX model keeps no state
        given = session.run(inputs)
        return {name: given[value.name].swapaxes(0, 1) if name in turned else given[value.name] for name, value in taps.items()}

    samples = run_samples(SampleReader(model), dataset, infer, progress=progress)
    return collect([(match.site, match.weights) for match in matches], samples, opened.fingerprint, capacity)


def tapped_values(found: FoundSites) -> dict[str, ir.Value]:
    """The values to give out, by the names of `site_taps`."""
    return {name: tap.value for name, tap in site_taps(found).items()}  # type: ignore[attr-defined]
