"""Plans measured and differentiated block by block give what the whole model gives, channels that are read by half and lm_head included."""

from dataclasses import replace

import numpy as np
import pytest
from small_llm import SHAPE, TEXT, letters, small_llm

from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import pick_windows
from scap_ov.config import SparsityConfig
from scap_ov.errors import UncutError
from scap_ov.models.dataset import text_dataset
from scap_ov.models.opened import opened_model
from scap_ov.plan import SitePlan
from scap_ov.sample_models.random_llm import build
from scap_ov.sites import SiteKind
from scap_ov.tuning.block_losses import BlockLosses, Normaliser
from scap_ov.tuning.block_slopes import BlockSlopes
from scap_ov.tuning.plan_losses import WholeLosses, losses_of
from scap_ov.tuning.plan_slopes import WholeSlopes


@pytest.fixture(scope="module")
def model():
    return small_llm("i8")


@pytest.fixture(scope="module")
def windows(model):
    return pick_windows(ProbeModel(model, compare=False), text_dataset(TEXT, letters, model, seq_len=40, max_tokens=80), 1 << 30)


def entries_of(sites):
    """Every site is read by half; constants are large enough to matter."""
    random = np.random.default_rng(0)
    found = {}
    for site in sites:
        center = random.normal(0, 0.02, site.in_features).astype(np.float32)
        whole = np.array([0.6], np.float32)
        constant = random.normal(0, 0.02, site.out_features).astype(np.float32)
        found[site.name] = SitePlan(site.name, np.array([0.2], np.float32), center, 0.5, constant, whole)
    return found


def without_constants(entries):
    return {name: SitePlan(name, e.threshold, e.center, 0.5, None, e.whole_threshold) for name, e in entries.items()}


def test_losses_are_those_of_the_whole_model(model, windows, monkeypatch):
    monkeypatch.setattr("scap_ov.calibration.projection.CHUNK_BYTES", 4 * SHAPE.hidden * 50)  # the vocabulary in pieces
    blocks, whole = BlockLosses(model, lm_head=True, graded=True), WholeLosses(ProbeModel(model, graded=True))
    assert blocks.blocks.head.chunk < SHAPE.vocabulary
    entries = without_constants(entries_of(blocks.sites))
    found, wanted = (losses.losses(windows, entries) for losses in (blocks, whole))
    for one, two in ((found.kl, wanted.kl), (found.nll, wanted.nll)):
        assert np.abs(two).min() > 1e-5
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-7)  # sums of float32 over the vocabulary
    assert np.abs(blocks.losses(windows, {}).kl).max() < 1e-6


def test_losses_of_routed_experts_are_those_of_the_whole_model():
    routed = build(replace(SHAPE, ffn=64, experts=4, used=2), "i8", SHAPE.layers)
    blocks, whole = BlockLosses(routed), WholeLosses(ProbeModel(routed))
    some = pick_windows(blocks.blocks, text_dataset(TEXT, letters, routed, seq_len=40, max_tokens=80), 1 << 30)
    entries = {name: SitePlan(name, e.threshold, e.center, 0.5) for name, e in entries_of(blocks.sites).items() if name != "lm_head"}
    one, two = (losses.losses(some, entries).kl for losses in (blocks, whole))
    assert np.abs(two).min() > 1e-5
    np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-7)
    with pytest.raises(UncutError, match="routed experts"):
        BlockLosses(routed, learn=True)


def test_slopes_are_those_of_the_whole_model(model, windows):
    blocks, whole = BlockSlopes(model, lm_head=True, graded=True), WholeSlopes(model, graded=True)
    entries = entries_of(blocks.sites)
    (losses, shares), (whole_losses, whole_shares) = (one.measure(windows, entries) for one in (blocks, whole))
    np.testing.assert_allclose(losses, whole_losses, rtol=1e-3)
    found, wanted = (one.slopes(windows, entries) for one in (blocks, whole))
    for site in blocks.sites:
        np.testing.assert_allclose(shares[site.name], whole_shares[site.name], atol=1e-6)
        for one, two in zip(found[site.name], wanted[site.name], strict=True):
            assert np.abs(one.compensation - two.compensation).max() <= 1e-4 * np.abs(two.compensation).max()
            scale = np.abs([s.cost for own in wanted.values() for s in own]).max()
            assert one.cost == pytest.approx(two.cost, abs=1e-4 * scale)
            assert one.denser == pytest.approx(two.denser, rel=1e-3)
            assert one.unread == pytest.approx(two.unread, abs=1e-3)


def test_lm_head_is_dense_unless_it_is_asked_for(model, windows):
    blocks = losses_of(opened_model(model), SparsityConfig())
    assert isinstance(blocks, BlockLosses)
    head = {s.name: e for s, e in zip(blocks.sites, entries_of(blocks.sites).values(), strict=True) if s.kind is SiteKind.LM_HEAD}
    assert head
    assert np.abs(blocks.losses(windows, head).kl).max() < 1e-6


def test_a_normaliser_takes_chunks_of_any_size_and_minus_infinity():
    logits = np.random.default_rng(1).normal(0, 30, (5, 40)).astype(np.float32)
    logits[2, :25] = -np.inf  # a chunk with nothing in it
    norm = Normaliser()
    for part in (slice(0, 20), slice(20, 23), slice(23, 40)):
        norm.add(logits[:, part])
    wide = logits.astype(np.float64)
    peak = wide.max(1)
    np.testing.assert_allclose(norm.log(), peak + np.log(np.exp(wide - peak[:, None]).sum(1)), rtol=1e-6)
