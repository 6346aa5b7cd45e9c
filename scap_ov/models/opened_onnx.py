"""An ONNX model as all steps have it; the twin of OpenedModel."""

from __future__ import annotations

from functools import cached_property

from scap_ov.models.onnx_model import OnnxModel
from scap_ov.models.opened import Opened
from scap_ov.passes.onnx.find_sites import find_sites, fingerprint
from scap_ov.passes.onnx.graph_view import GraphView
from scap_ov.passes.rules.copied_sites import sites_in_copy
from scap_ov.passes.rules.sites import FoundSites


class OpenedOnnx(Opened[OnnxModel]):
    """A model of onnx_ir."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the layers."""
        return fingerprint(self.model.graph_model)

    def find(self, *, lm_head: bool) -> FoundSites:
        """Look for the sites; their nodes are views."""
        return find_sites(self.model.graph_model, lm_head=lm_head)

    def copy(self) -> tuple[OnnxModel, FoundSites]:
        """A copy of the graph, which shares the weights, and the sites in it."""
        clone = self.model.clone()
        views = GraphView(clone.graph_model).ordered
        return clone, sites_in_copy(self.found, views) or find_sites(clone.graph_model, lm_head=True)  # type: ignore[arg-type]


def opened_onnx(model: OnnxModel | OpenedOnnx) -> OpenedOnnx:
    """An ONNX model with what is known of it; one that was opened before is given back as it is."""
    return model if isinstance(model, OpenedOnnx) else OpenedOnnx(model)
