"""What moving thresholds does, and the slope of pruning itself."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from small_llm import TEXT, letters, small_llm

from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.probe import Reference
from scap_ov.calibration.samples import pick_windows
from scap_ov.gradients.gradient import gradients
from scap_ov.gradients.pruning_gradient import WIDTH
from scap_ov.models.dataset import text_dataset


@pytest.fixture(scope="module")
def ran():
    """A probe after a run with thresholds for each channel and centres, and these settings."""
    model = small_llm("f16")
    probe = GradientModel(model, inputs=True, thresholds=True)
    piece = pick_windows(probe, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=64), 64)[0]
    rng = np.random.default_rng(3)
    settings = probe.dense()
    settings.thresholds[:] = rng.uniform(0.2, 1.5, settings.thresholds.size)
    settings.centers[:] = 0.3 * rng.standard_normal(settings.centers.size)
    reference = probe.reference_of(piece.inputs)
    probe.run(piece.inputs, settings, Reference(np.where(piece.pruned[:, None], reference.values, 0), reference.offset))
    return probe, settings


def test_the_slope_is_the_difference_of_what_the_gradient_says_of_two_thresholds(ran):
    """To first order an entry that is dropped costs g·(c − x): the slope is the difference of these sums at τ(1 ± WIDTH)."""
    probe, settings = ran
    for site in probe.sites:
        x, g = (v.reshape(-1, site.in_features)[1:].astype(np.float64) for v in (probe.output(site.name), probe.gradient(site.name)))
        tau, center = settings.thresholds[probe.channels(site.name)], settings.centers[probe.channels(site.name)]
        cost, distance = g * (center - x), np.abs(x - center)
        sides = [distance < tau * (1 + sign * WIDTH) for sign in (1, -1)]
        slope, density, dropped = probe.moved(site.name)
        np.testing.assert_allclose(slope, ((cost * sides[0]).sum(0) - (cost * sides[1]).sum(0)) / (2 * WIDTH), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(density, (sides[0].sum(0) - sides[1].sum(0)) / (2 * WIDTH), atol=1.01 * 0.5 / WIDTH)
        np.testing.assert_allclose(dropped, (distance <= tau).sum(0), atol=1)


def test_sites_are_really_pruned_in_this_run(ran):
    probe, _ = ran
    shares = [probe.moved(site.name)[2].mean() for site in probe.sites]
    assert min(shares) > 5
    assert max(shares) < 63


def test_the_slope_of_pruning_is_that_of_the_best_line_and_one_where_a_row_is_dense():
    x, weight = (ops.parameter(ov.PartialShape([1, 500, 3]), np.float32, name=name) for name in ("x", "weight"))
    center = ops.constant(np.array([[[0.1, 0, 0]]], np.float32))
    keep = ops.greater(ops.abs(ops.subtract(x, center)), ops.constant(np.array([[[0.7, 0.2, -1]]], np.float32)))
    first = ops.constant((np.arange(500) == 0)[:, None])
    pruned = ops.select(ops.logical_or(keep, first), x, center)
    nodes = ov.Model([pruned], [x], "pruned").get_ordered_ops()
    found = gradients(nodes, [(pruned.output(0), weight.output(0))], [x.output(0)], pruning=[pruned])
    values = np.random.default_rng(5).standard_normal((2, 1, 500, 3)).astype(np.float32)
    got, seen = ov.Core().compile_model(ov.Model([found[0], pruned.output(0)], [x, weight], "both"), "CPU")(list(values)).values()
    d, rest = (v[0, 1:] - center.data[0, 0] for v in (values[0], seen))
    line = (d * rest).sum(0) / (d * d).sum(0)
    assert 0.7 < line[0] < line[1] < line[2] == 1
    np.testing.assert_allclose(got[0, 1:], values[1][0, 1:] * line, rtol=1e-4)
    np.testing.assert_array_equal(got[0, 0], values[1][0, 0])


def test_both_thresholds_of_a_graded_site_move_together():
    """Entries not read, and how many more of them there are per step of the logarithm; half of a channel at each threshold."""
    model = small_llm("i8")
    probe = GradientModel(model, inputs=True, thresholds=True, graded=True)
    piece = pick_windows(probe, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=64), 64)[0]
    settings = probe.dense()
    settings.thresholds[:], settings.whole[:] = 0.3, 1.2
    reference = probe.reference_of(piece.inputs)
    probe.run(piece.inputs, settings, Reference(np.where(piece.pruned[:, None], reference.values, 0), reference.offset))
    for site in probe.sites:
        x = np.abs(probe.output(site.name).reshape(-1, site.in_features)[1:])
        slope, density, unread = probe.moved(site.name)
        np.testing.assert_allclose(unread, ((x <= 0.3).sum(0) + (x <= 1.2).sum(0)) / 2, atol=1)
        near = [((x < t * (1 + WIDTH)).sum(0) - (x <= t * (1 - WIDTH)).sum(0)) / (2 * WIDTH) for t in (0.3, 1.2)]
        np.testing.assert_allclose(density, (near[0] + near[1]) / 2, atol=1.01 * 0.5 / WIDTH)
        assert np.isfinite(slope).all()
        assert slope.any()
