"""Measure what a profile needs beside the observed statistics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.calibration.drift import measure_drift
from scap_ov.calibration.refine import refine
from scap_ov.calibration.sensitivity import measure_sensitivity
from scap_ov.config import SparsityConfig
from scap_ov.fitting.fit import fit
from scap_ov.progress import TitledProgress, titled

if TYPE_CHECKING:
    from scap_ov.calibration.observe import Keep
    from scap_ov.models.kinds import Model
    from scap_ov.models.runner import InferenceData
    from scap_ov.statistics.profile import CalibrationProfile


def complete(
    model: Model,
    dataset: InferenceData,
    profile: CalibrationProfile,
    *,
    sequential: bool = False,
    checkpoint: str | Path | None = None,
    keep: Keep | None = None,
    progress: TitledProgress | None = None,
) -> CalibrationProfile:
    """Measure the sensitivity of the output to every site, and the drift of thresholds behind pruned sites.

    :param sequential: observe once more in between, every site behind sites half of whose channels are dropped, so that
        centres too are fitted to what they will see.
    :param checkpoint: file in which an interrupted measurement of sensitivity is kept; see `measure_sensitivity`.
    :param keep: called with the profile after each step; of a profile that it was given, what is there is not measured again.
    """
    keep = keep or (lambda _: None)
    profile = measure_sensitivity(model, dataset, profile, checkpoint=checkpoint, progress=titled(progress, "measuring sensitivity"))
    keep(profile)
    if sequential and not profile.metadata.get("sequential"):
        plan = fit(profile, SparsityConfig(method="adaptive", lm_head=False))
        profile, _ = refine(model, dataset, profile, plan, rounds=1, progress=titled(progress, "observing behind pruned sites"))
        keep(profile)
    return measure_drift(model, dataset, profile, keep=keep, progress=titled(progress, "measuring the drift of thresholds"))
