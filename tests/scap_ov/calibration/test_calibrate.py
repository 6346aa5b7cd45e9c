"""Sensitivity, drift, compensation and the search for a sparsity, on a small Llama with random weights."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from measured_plan import loss_and_sparsity
from small_llm import TEXT, letters, small_llm

import scap_ov
from scap_ov.api import apply_with_plan
from scap_ov.calibration.calibrate import complete
from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.observe import observe
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import pick_windows
from scap_ov.calibration.sensitivity import measure_sensitivity
from scap_ov.calibration.split import HeldOutSplit
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.fitting.fit import fit
from scap_ov.models.dataset import text_dataset
from scap_ov.passes.rules.match_pattern import match_patterns
from scap_ov.passes.rules.places import COMPENSATION
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.tuning.compensation import SHARES, _Learner, fit_compensation
from scap_ov.tuning.max_loss import MIN_SPARSITY, LossLimit, largest_sparsity

EVERYTHING = 1 << 30


@pytest.fixture(scope="module")
def model():
    return small_llm("f16")


@pytest.fixture(scope="module")
def dataset(model):
    return text_dataset(TEXT, letters, model, seq_len=64, max_tokens=2048)


@pytest.fixture(scope="module")
def half(model):
    """Half as much text, for what takes long."""
    return text_dataset(TEXT, letters, model, seq_len=64, max_tokens=1024)


@pytest.fixture(scope="module")
def profile(model, dataset):
    return complete(model, dataset, observe(model, dataset))


@pytest.fixture(scope="module")
def measured(model, dataset):
    """A function from a plan to its loss and model-wide sparsity over all samples."""
    probe = ProbeModel(model, measure=True)
    return functools.partial(loss_and_sparsity, probe, pick_windows(probe, dataset, EVERYTHING))


def test_fit_alone_hits_the_sparsity_that_is_asked_for(profile, measured):
    for target in (0.4, 0.6):
        plan = fit(profile, SparsityConfig(target_sparsity=target))
        assert plan.notes["drift_correction"]
        assert measured(plan)[1] == pytest.approx(target, abs=0.005)


def test_gradients_and_pruning_site_by_site_agree_on_what_is_sensitive(model, dataset, profile):
    bare = replace(profile, sensitivity={})
    slow = measure_sensitivity(model, dataset, bare, levels=(0.3,), gradients=False, tokens=EVERYTHING)
    names = list(slow.sensitivity)
    fast = [np.interp(0.3, profile.sensitivity[n]["level"], profile.sensitivity[n]["loss"]) for n in names]
    direct = [slow.sensitivity[n]["loss"][0] for n in names]
    assert np.corrcoef(np.log(fast), np.log(direct))[0, 1] > 0.8


def test_a_plan_is_the_same_bit_for_bit_from_the_profile_and_from_its_file(profile, tmp_path):
    profile.save(tmp_path / "p.safetensors")
    for index, source in enumerate((profile, CalibrationProfile.load(tmp_path / "p.safetensors"))):
        fit(source, SparsityConfig()).save(tmp_path / f"{index}.plan")
    assert (tmp_path / "0.plan").read_bytes() == (tmp_path / "1.plan").read_bytes()


def test_merged_profiles_keep_their_sensitivity_and_the_order_of_two_does_not_matter(model, profile):
    others = text_dataset(TEXT[::-1], letters, model, seq_len=64, max_tokens=512)
    other = complete(model, others, observe(model, others))
    one, two = profile.merge(other), other.merge(profile)
    assert one.sensitivity.keys() == profile.sensitivity.keys()
    for name, table in one.sensitivity.items():
        np.testing.assert_array_equal(table["loss"], two.sensitivity[name]["loss"])
        lowest = np.minimum(profile.sensitivity[name]["loss"], other.sensitivity[name]["loss"])
        assert (table["loss"] >= lowest - 1e-12).all()


def test_compensation_lowers_the_loss_and_never_reaches_a_dense_row(model, half, profile, measured):
    plan = fit(profile, SparsityConfig(target_sparsity=0.6))
    learned = fit_compensation(model, half, profile, plan, steps=8)
    told = learned.notes["compensation"]
    assert told["kept"]
    assert told["held_out_loss_after"] < told["held_out_loss_before"]
    assert told["held_out_sparsity_after"] == pytest.approx(told["held_out_sparsity_before"], abs=0.002)
    assert told["share"] in SHARES
    (before, dropped), (after, still) = (measured(p) for p in (plan, learned))
    assert still == pytest.approx(dropped, abs=0.01)
    assert after < before
    probe = ProbeModel(model, observe=True)
    piece = pick_windows(probe, half, 64)[0]
    probe.run(piece.inputs, probe.dense())
    stock = {name: value[:, 0].copy() for name, value in probe.tapped().items()}
    loud = probe.settings(learned.entries.values())
    loud.compensation += 100
    probe.run(piece.inputs, loud)
    for name, value in probe.tapped().items():
        np.testing.assert_array_equal(value[:, 0], stock[name], err_msg=name)


def test_compensation_reads_its_text_once_and_goes_the_way_that_is_best_on_held_out_text(model, half, profile):
    plan = fit(profile, SparsityConfig(target_sparsity=0.6))
    told = fit_compensation(model, half, profile, plan).notes["compensation"]
    assert 1 <= told["steps"] <= 4  # the samples that are not held out, each once, several a step
    learner = _Learner(model, profile, plan)
    pieces = pick_windows(learner.model, half, 512)
    learner.descend(pieces, 2, 4, None)
    far, moved = dict(learner.constants), dict(learner.moved)
    _, sparsity = learner.measure(pieces)
    share, loss, reached = learner.best_share(pieces, sparsity)
    assert learner.measure(pieces) == pytest.approx((loss, reached), rel=1e-5)
    for name, constant in far.items():
        np.testing.assert_array_equal(learner.constants[name], share * constant)
        assert np.abs(constant).max() > 0
    shifts = [learner.moved[name] - share * by for name, by in moved.items()]
    assert np.ptp(shifts) < 1e-6  # what is left is the one factor that holds the sparsity


def test_the_gradient_of_the_compensation_is_that_of_the_divergence(model, dataset):
    probe = GradientModel(model, constants=True)
    piece = pick_windows(probe, dataset, 64)[0]
    settings = probe.dense()
    settings.compensation[:] = 0.05 * np.random.default_rng(1).standard_normal(settings.compensation.shape)
    reference = probe.reference_of(piece.inputs)
    probe.loss(piece.inputs, settings, piece.pruned, reference)
    gradient = probe.gradient(COMPENSATION) / piece.pruned.sum()
    direction = gradient / np.linalg.norm(gradient)
    sides = []
    for step in (0.02, -0.02):
        moved = settings.copy()
        moved.compensation += step * direction
        sides.append(probe.loss(piece.inputs, moved, piece.pruned, reference))
    assert (sides[0] - sides[1]) / 0.04 == pytest.approx(np.linalg.norm(gradient), rel=0.05)


def test_the_largest_sparsity_holds_and_says_how_sure_that_is(model, dataset, profile, measured):
    limit = LossLimit("kl", 0.02)
    found = largest_sparsity(model, dataset, profile, SparsityConfig(), limit)
    assert found.low <= found.loss <= found.high <= limit.value
    loss, _ = measured(found.plan)
    assert loss <= limit.value
    assert all(high > limit.value for target, _, _, high in found.tried if target > found.plan.config.target_sparsity)
    assert found.plan.notes["max_loss"]["windows"] == found.windows


def test_a_text_too_short_to_tell_is_refused_with_the_length_that_would_do(model, dataset, profile):
    class Few:
        def get_inference_data(self):
            return list(HeldOutSplit(dataset, held_out=True).get_inference_data())[:4]

    with pytest.raises(BadDatasetError, match=r"too coarse for a limit of 1e-06; give about \d+ tokens of it"):
        largest_sparsity(model, Few(), profile, SparsityConfig(), LossLimit("perplexity", 1e-6))
    with pytest.raises(BadDatasetError, match="needs 4 windows"):
        largest_sparsity(
            model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=128), profile, SparsityConfig(), LossLimit("kl", 1)
        )


@pytest.mark.parametrize(("text", "measure", "value"), [("1%", "perplexity", 0.01), ("0.02", "perplexity", 0.02), ("kl=0.05", "kl", 0.05)])
def test_limits_are_read(text, measure, value):
    assert LossLimit.parse(text) == LossLimit(measure, value)


@pytest.mark.parametrize("text", ["", "kl=5%", "-1%", "much", "0", "nan"])
def test_limits_that_mean_nothing_are_refused(text):
    with pytest.raises(UsageError, match="give a share of perplexity such as 1%"):
        LossLimit.parse(text)


def test_apply_searches_on_half_of_the_data(model, dataset):
    sparse, plan = apply_with_plan(model, dataset, SparsityConfig(), form="portable", max_loss="kl=0.02")
    told = plan.notes["max_loss"]
    assert told["interval_95"][0] <= told["loss"] <= told["interval_95"][1] <= 0.02
    assert told["windows"] == len(list(HeldOutSplit(dataset, held_out=True).get_inference_data()))
    assert plan.notes["calibration"]["samples"] == len(list(HeldOutSplit(dataset, held_out=False).get_inference_data()))
    assert plan.config.target_sparsity > MIN_SPARSITY
    assert len(match_patterns(sparse)) == len(plan.entries)


def test_apply_learns_compensation_where_it_is_asked_for(model, half, monkeypatch):
    monkeypatch.setattr("scap_ov.tuning.compensation.STEPS", 8)
    sparse, plan = apply_with_plan(model, half, SparsityConfig(target_sparsity=0.6, compensation=True), form="portable")
    assert plan.notes["compensation"]["kept"]
    assert all(layer.compensation is not None for pattern in match_patterns(sparse) for layer in pattern.layers)


def test_what_a_profile_cannot_give_is_told(model, profile):
    with pytest.raises(UsageError, match="compensation is learned on text, and a profile holds none"):
        apply_with_plan(model, profile, SparsityConfig(compensation=True))
    with pytest.raises(UsageError, match="max-loss is checked on text that is held out"):
        apply_with_plan(model, profile, max_loss="1%")
    with pytest.raises(UsageError, match="use apply with a dataset"):
        scap_ov.fit(profile, SparsityConfig(compensation=True))
