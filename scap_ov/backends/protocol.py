"""What a backend is: the steps for one kind of model. Its modules, openvino and onnx, have these functions.

Two types run through a backend: `Opened`, the model as it is opened once for all steps, and `Graph`, what is written and read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from scap_ov.json_values import JsonObject

if TYPE_CHECKING:
    from scap_ov.calibration.cost import Cost
    from scap_ov.config import SparsityConfig
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SparsityPlan
    from scap_ov.progress import TitledProgress
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import CalibrationProfile
    from scap_ov.storage.destination import Destination

Opened = TypeVar("Opened")  # OpenedModel or OpenedOnnx
Graph = TypeVar("Graph")  # openvino.Model or onnx.ModelProto


class Backend(Protocol[Opened, Graph]):
    """The steps on one kind of model. None of them changes the model that it is given.

    FORMS are the forms that `rewrite` knows; LOWERS tells whether the result may hold the custom op.
    """

    @property
    def FORMS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """The forms that `rewrite` knows."""

    @property
    def LOWERS(self) -> bool:  # noqa: N802 - a constant of the module
        """Whether the result may hold the custom op."""

    def open_model(self, model: object) -> Opened:
        """Open a path, or take a model as it is."""

    def check_stock(self, model: Opened) -> None:
        """Refuse a model that is sparse already."""

    def in_format(self, model: Opened, weight_format: str) -> Opened:
        """The model with weights as `SparsityConfig.weight_format` says."""

    def find(self, model: Opened, config: SparsityConfig) -> tuple[tuple[Site, ...], tuple[tuple[str, str], ...]]:
        """The sites of a model, and the layers that cannot be one with the reason."""

    def cost(self, model: Opened, dataset: InferenceData, memory: int | None = None) -> Cost | None:
        """What `calibrate` will take, with the same arguments; None where that is not known."""

    def calibrate(
        self,
        model: Opened,
        dataset: InferenceData,
        *,
        sequential: bool = False,
        checkpoint: str | Path | None = None,
        memory: int | None = None,
        progress: TitledProgress | None = None,
    ) -> CalibrationProfile:
        """Observe every site, and measure sensitivity and drift."""

    def fit(
        self, model: Opened, profile: CalibrationProfile, dataset: InferenceData | None, config: SparsityConfig, *,
        progress: TitledProgress | None = None,
    ) -> SparsityPlan:  # fmt: skip
        """Fit a plan while the model and its data are at hand."""

    def check_plan(self, model: Opened, plan: SparsityPlan) -> None:
        """Refuse a plan of another network."""

    def rewrite(
        self, model: Opened, plan: SparsityPlan, form: str, stock: Mapping[str, str], *, progress: TitledProgress | None = None
    ) -> Graph:
        """A pruned copy of a stock model."""

    def own_files(self, file: Path, /) -> list[Path]:
        """The files that make up a model."""

    def write(self, model: Graph, place: Destination) -> None:
        """Write the model to a place that was checked."""

    def record(self, model: Graph) -> JsonObject:
        """Configuration and summary that `rewrite` noted in a model."""

    def save(self, model: Graph, path: str | Path) -> None:
        """Write a model file, or one into a folder."""
