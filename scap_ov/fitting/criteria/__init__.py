"""The methods: what is dropped at a site, and by what it is replaced. A new one is a file here and a line in CRITERIA."""

from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.fitting.criteria.base import Criterion, SiteFit
from scap_ov.fitting.criteria.cats import CatsCriterion
from scap_ov.fitting.criteria.graded import GradedCriterion
from scap_ov.fitting.criteria.scap import ScapCriterion
from scap_ov.fitting.criteria.teal import TealCriterion
from scap_ov.fitting.criteria.topk import TopkCriterion
from scap_ov.fitting.criteria.wina import WinaCriterion

CRITERIA: dict[str, type[Criterion]] = {
    c.name: c for c in (GradedCriterion, AdaptiveCriterion, ScapCriterion, TealCriterion, CatsCriterion, WinaCriterion, TopkCriterion)
}

__all__ = ["CRITERIA", "Criterion", "SiteFit"]
