"""The models of quality.py in their weight forms, their calibration text and their profiles, each made once in the work folder."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from quality_evaluation import WINDOW

from scap_ov import api
from scap_ov.models.dataset import self_dataset, text_dataset
from scap_ov.sample_models.real_weights import write_in_form
from scap_ov.sample_models.source import stock_model
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.storage.model_folder import read_model


class Models:
    """What the work folder holds or gets.

    :param args: of quality.py.
    :param fitted: text to calibrate on.
    """

    def __init__(self, args: argparse.Namespace, fitted: str) -> None:
        self._work: Path = args.work
        self._tokens: int = args.calibration_tokens
        self.fitted = fitted

    def folder(self, form: str) -> Path:
        """The stock model in a weight form."""
        folder = self._work / form
        if folder.exists():
            return folder
        return write_in_form(stock_model("genai", self._work / "u4", print), form, folder)

    def data(self, form: str, tokens: int) -> Any:
        """Calibration text."""
        folder = self.folder(form)
        return text_dataset(self.fitted, folder, read_model(folder), seq_len=WINDOW, max_tokens=tokens)

    def profile(self, form: str, *, own: bool = False) -> tuple[CalibrationProfile, dict[str, Any]]:
        """Calibrated once, and what is to be told of it; nothing if it was there.

        :param own: on text that the model writes itself.
        """
        path = self._work / f"{form}{'-self' if own else ''}.safetensors"
        told: dict[str, Any] = {}
        if not path.exists():
            folder = self.folder(form)
            data = self_dataset(folder, tokens=self._tokens) if own else self.data(form, self._tokens)
            started = time.process_time()
            profile = api.calibrate(folder, data)
            seconds = time.process_time() - started
            profile.save(path)
            told = {**profile.metadata, "seconds": seconds, "file_bytes": path.stat().st_size}
        return CalibrationProfile.load(path), told
