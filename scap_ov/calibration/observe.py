"""Run an OpenVINO model on calibration data and observe the input of every site. After: passes.openvino.find_sites."""

from __future__ import annotations

import openvino as ov

from scap_ov.models.runner import InferenceData, Progress, stream
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.gate_activation import gate_activation
from scap_ov.passes.rules.sites import FoundSites
from scap_ov.sites import SiteKind
from scap_ov.statistics.collector import collect, gate_name
from scap_ov.statistics.profile import CalibrationProfile


def observe(
    model: ov.Model, dataset: InferenceData, *, capacity: int | None = None, progress: Progress | None = None
) -> CalibrationProfile:
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
    found = find_sites(clone, lm_head=True)
    matches = found.some()
    samples = stream(clone, site_taps(found), dataset, progress=progress)
    return collect([(match.site, match.weights) for match in matches], samples, fingerprint(model), capacity)


def site_taps(found: FoundSites) -> dict[str, ov.Output]:
    """The input of every site by the site's name, and the activated gate of every gated FFN by `gate_name`."""
    taps = {}
    for match in found.matches:
        taps[match.site.name] = match.source
        gate = gate_activation(match.source) if match.site.kind is SiteKind.DOWN else None
        if gate is not None:
            taps[gate_name(match.site.name)] = gate
    return taps
