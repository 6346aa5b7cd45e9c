"""Scores against float64 by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scap_ov.evaluation.bytes_read import layer_bytes, weight_bytes_per_token
from scap_ov.models.agreement import log_softmax, score, standard_error
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec


@given(st.integers(1, 150), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_scores_are_those_of_the_definition(rows: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, reference = rng.standard_normal((2, rows, width), np.float32) * 5
    targets = rng.integers(0, width, rows)
    q, p = (np.exp(z.astype(np.float64)) / np.exp(z.astype(np.float64)).sum(-1, keepdims=True) for z in (model, reference))
    got = score(model, reference, targets)
    assert got.count == rows
    assert got.nll == pytest.approx(-np.log(q[np.arange(rows), targets]).sum(), rel=1e-4, abs=1e-4)
    assert got.kl == pytest.approx((p * np.log(p / q)).sum(), rel=1e-3, abs=1e-3)
    assert got.agree == int((p.argmax(-1) == q.argmax(-1)).sum())


def test_equal_logits_have_no_divergence() -> None:
    logits = np.random.default_rng(0).standard_normal((5, 9), np.float32)
    got = score(logits, logits, np.zeros(5, np.int64))
    assert (got.kl, got.agree, got.nll) == (0.0, 5, got.reference_nll)


def test_large_logits_do_not_overflow() -> None:
    assert np.isfinite(log_softmax(np.array([[1e30, -1e30, 0.0]], np.float32))).all()


def test_standard_error_of_a_mean_over_equal_windows() -> None:
    sums = np.array([1.0, 2.0, 4.0]) * 10
    assert standard_error(sums, np.full(3, 10.0)) == pytest.approx(np.std([1, 2, 4], ddof=1) / np.sqrt(3))
    assert standard_error(sums[:1], np.full(1, 10.0)) is None


def test_bytes_of_a_site() -> None:
    int4 = Layer("a", 128, 64, WeightSpec("u4", 32, "f16", has_zero_point=True))
    assert layer_bytes(int4) == (128 * 64 / 2, 4 * 64 * 2 + 4 * 64 / 2)
    assert layer_bytes(Layer("b", 128, 64, WeightSpec("f16"))) == (128 * 64 * 2, 0)
    site = Site("s", SiteKind.O, 0, (int4,))
    assert weight_bytes_per_token([site], {"s": 0.5}) == 128 * 64 / 4 + 640
    assert weight_bytes_per_token([site], {}) == 128 * 64 / 2 + 640


def test_tokens_that_are_ruled_out():
    """A logit of -inf is the probability 0 and adds nothing; of the model alone it is an infinite divergence."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 8)).astype(np.float32)
    a[:, 5:], b[:, 5:] = -np.inf, -np.inf
    targets = np.array([0, 1, 2, 3])
    cut, whole = score(a, b, targets), score(a[:, :5], b[:, :5], targets)
    assert cut.kl == pytest.approx(whole.kl, rel=1e-6)
    assert cut.nll == pytest.approx(whole.nll, rel=1e-6)
    assert score(a, np.where(np.isinf(b), 0, b), targets).kl == np.inf
