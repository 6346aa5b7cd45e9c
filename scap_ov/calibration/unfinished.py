"""The profile of an interrupted calibration: what is observed and measured already, in a file beside the checkpoint."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.errors import OutputError
from scap_ov.models.runner import samples_of
from scap_ov.models.sample import SampleReader
from scap_ov.statistics.profile import CalibrationProfile

if TYPE_CHECKING:
    from scap_ov.models.kinds import AnyOpened
    from scap_ov.models.runner import InferenceData

_OF = "unfinished_of"  # in the profile's metadata


class Unfinished:
    """Keeps a profile after every step that is done. Without a checkpoint nothing is kept.

    :param checkpoint: of the calibration; the profile is in the file of this name and `.profile`.
    :param options: what the result depends on besides model and data.
    :raises OutputError: the file is of another model, other data or options.
    :raises UsageError: it is no profile.
    """

    def __init__(self, checkpoint: str | Path | None, model: AnyOpened, dataset: InferenceData, options: object) -> None:
        self.profile: CalibrationProfile | None = None
        self._path = None if checkpoint is None else Path(f"{checkpoint}.profile")
        if self._path is None:
            return
        self._key = _digest(model, dataset, options)
        if self._path.exists():
            self.profile = CalibrationProfile.load(self._path)
            if self.profile.metadata.get(_OF) != self._key:
                msg = f"{self._path} is of another model, other data or options; give another --checkpoint, or delete the file"
                raise OutputError(msg)

    @property
    def kept(self) -> bool:
        """Whether anything is kept."""
        return self._path is not None

    def keep(self, profile: CalibrationProfile) -> None:
        """Keep what is known so far in place of what was before.

        :raises OutputError: writing failed; the file is then as it was.
        """
        if self._path is not None:
            replace(profile, metadata={**profile.metadata, _OF: self._key}).save(self._path)

    def finished(self, profile: CalibrationProfile) -> CalibrationProfile:
        """All is measured: the file goes, and the profile no longer says that it is unfinished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        return replace(profile, metadata={key: value for key, value in profile.metadata.items() if key != _OF})


def _digest(model: AnyOpened, dataset: InferenceData, options: object) -> str:
    found = hashlib.sha256(f"{model.fingerprint}{options!r}".encode())
    reader = SampleReader(model.model)
    for index, item in enumerate(samples_of(dataset)):
        found.update(reader.read(item, index).digest().to_bytes(8, "little"))
    return found.hexdigest()
