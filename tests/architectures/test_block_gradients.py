"""Every decoder of the registry that can be cut: inputs and gradients of its sites block by block are those of the whole model."""

from __future__ import annotations

import nncf
import numpy as np
import pytest
from architectures.feeds import inputs_for, random_ids
from architectures.rows import DECODERS

from scap_ov.backends.openvino import open_model
from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.samples import pick_windows
from scap_ov.calibration.site_gradients import block_gradients, whole_gradients

pytestmark = pytest.mark.slow
ROUNDING = 2e-5  # of f32 through two blocks, relative to the largest entry of a tensor


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in DECODERS if not row.refused])
def test_gradients_block_by_block_are_those_of_the_whole_model(row, load):
    model = open_model(load(row, row.files[0])).model
    blocks = BlockModel(model)
    assert blocks.blocks == 2
    windows = pick_windows(blocks, nncf.Dataset([inputs_for(model, random_ids(1, 24, seed), seed=seed) for seed in range(2)]), 1 << 30)
    found: list[dict[str, list[tuple[np.ndarray, np.ndarray]]]] = [{}, {}]

    def taker(kept):
        return lambda name, x, g: kept.setdefault(name, []).append((x.copy(), g.copy()))

    block_gradients(blocks, windows, taker(found[0]))
    whole = GradientModel(model, inputs=True)
    whole_gradients(whole, windows, whole.sites, taker(found[1]))
    assert found[0].keys() == found[1].keys() == {site.name for site in whole.sites}
    for name, rows in found[1].items():
        for ours, theirs in zip(found[0][name], rows, strict=True):
            for one, two in zip(ours, theirs, strict=True):
                assert np.abs(one - two).max() <= ROUNDING * np.abs(two).max(), name
