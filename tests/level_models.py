"""Models with several levels, small enough to be made in every test that wants one. Imported by tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
from pruned_layers import Built, one_site, plan_of, vector

from scap_ov.backends.openvino import rewrite
from scap_ov.plan import SitePlan, SparsityPlan

LEVELS = (0.0, 0.25, 0.5)
K = 96
_LOW, _HIGH = {0.25: 0.3, 0.5: 0.7}, {0.25: 0.9, 0.5: 1.6}


def levels_plan(model: ov.Model, *, graded: bool = False, per_channel: bool = False, **config) -> SparsityPlan:
    """Three levels, with centres, thresholds and half-reading of their own; at level 0 no site has an entry."""
    plan = plan_of(model, 0.5, levels=LEVELS, **{"dynamic_quantization": False, **config})
    rng = np.random.default_rng(3)

    def entry(own: SitePlan, level: float) -> SitePlan:
        threshold = _LOW[level] * rng.uniform(0.5, 1.5, K) if per_channel else _LOW[level]
        whole = vector(_HIGH[level]) if graded else None
        return replace(own, threshold=vector(threshold), center=vector(level / 2 if level > 0.3 else 0.0), whole_threshold=whole,
                       expected_sparsity=level)  # fmt: skip

    levels = {level: {name: entry(own, level) for name, own in plan.entries.items()} if level else {} for level in LEVELS}
    return replace(plan, entries=levels[plan.start_level], levels=levels)


def levels_model(
    form: str = "i4-g32", *, graded: bool = False, per_channel: bool = False, **config
) -> tuple[Built, SparsityPlan, ov.Model]:
    """One site of two layers, its plan, and the lowered model."""
    built = one_site([form, form], [70, 24], K)
    plan = levels_plan(built.model, graded=graded, per_channel=per_channel, **config)
    return built, plan, rewrite(built.model, plan, "lowered", {})
