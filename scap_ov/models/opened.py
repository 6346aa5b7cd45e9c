"""A stock model as all steps have it: opened once, its sites and its fingerprint found once."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Generic, TypeVar

import openvino as ov

from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.widen import widen
from scap_ov.passes.rules.copied_sites import sites_in_copy
from scap_ov.passes.rules.sites import FoundSites
from scap_ov.sites import Site

Graph = TypeVar("Graph")

_log = logging.getLogger(__name__)


class Opened(ABC, Generic[Graph]):
    """A model that stays as it is; steps that change a graph ask for a copy.

    :param model: ov.Model or OnnxModel.
    """

    def __init__(self, model: Graph) -> None:
        self.model = model

    @cached_property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the layers; see find_sites.fingerprint."""

    @abstractmethod
    def find(self, *, lm_head: bool) -> FoundSites:
        """Look for the sites; see find_sites."""

    @abstractmethod
    def copy(self) -> tuple[Graph, FoundSites]:
        """A copy of the model, to be changed, and the sites in it."""

    @cached_property
    def found(self) -> FoundSites:
        """All sites, the output projection among them.

        :raises BadModelError: the model is sparse already, or holds no fully connected layer at all.
        """
        return self.find(lm_head=True)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """All sites, of which there is at least one.

        :raises BadModelError: there is none.
        """
        return tuple(match.site for match in self.found.some())

    def found_for(self, *, lm_head: bool) -> FoundSites:
        """The sites with or without the output projection.

        :raises BadModelError: as `found`.
        """
        return self.found if lm_head else self.found.without_head() or self.find(lm_head=False)


class OpenedModel(Opened[ov.Model]):
    """An OpenVINO model."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the layers."""
        return fingerprint(self.model)

    def find(self, *, lm_head: bool) -> FoundSites:
        """Look for the sites."""
        return find_sites(self.model, lm_head=lm_head)

    def copy(self) -> tuple[ov.Model, FoundSites]:
        """A clone, which shares the weights, and the sites in it."""
        clone = self.model.clone()
        return clone, sites_in_copy(self.found, clone.get_ordered_ops()) or find_sites(clone, lm_head=True)

    def copy_in_f32(self) -> tuple[ov.Model, FoundSites]:
        """A copy that computes in f32, whatever the model computes in; the same as `copy` where it cannot."""
        clone = self.model.clone()
        try:
            if widen(clone):
                found = find_sites(clone, lm_head=True)
                if [match.site for match in found.matches] == [match.site for match in self.found.matches]:
                    return clone, found
        except RuntimeError as e:
            _log.info("the model cannot compute in f32: %s", e)
        return self.copy()


def opened_model(model: ov.Model | OpenedModel) -> OpenedModel:
    """An OpenVINO model with what is known of it; one that was opened before is given back as it is."""
    return model if isinstance(model, OpenedModel) else OpenedModel(model)
