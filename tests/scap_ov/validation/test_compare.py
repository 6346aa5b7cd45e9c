"""The figures of validate, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from scap_ov.validation.compare import OutputDifference


def result(name, *pairs, tolerance=0.5):
    difference = OutputDifference(name, tolerance)
    for a, b in pairs:
        difference.add(np.asarray(a, np.float32), np.asarray(b, np.float32))
    return difference.result()


def test_differences_over_all_runs():
    found = result("y", ([[1, 2], [3, 4]], [[1, 2], [3, 5]]), ([[0, 0]], [[0.25, 0]]))
    assert (found["max_difference"], found["mean_difference"]) == (1, 1.25 / 6)
    assert (found["rows"], found["rows_above_tolerance"]) == (3, 1)


def test_cosine_of_embeddings():
    found = result("y", ([[1, 0], [2, 0]], [[3, 0], [0, 1]]))
    assert (found["cosine_mean"], found["cosine_min"]) == (0.5, 0)
    assert found["kl_divergence"] is found["top1_agreement"] is None


def test_divergence_and_agreement_of_logits():
    found = result("logits", ([[np.log(3), 0], [0, 1]], [[0, 0], [0, 1]]))
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert found["kl_divergence"] == pytest.approx(expected / 2, rel=1e-5)
    assert found["top1_agreement"] == 1  # of equal logits the first counts
    assert found["cosine_mean"] is None


def test_nan_is_never_close():
    found = result("y", ([[1, np.nan]], [[1, 0]]))
    assert found["rows_above_tolerance"] == 1
    assert found["max_difference"] == np.inf


def test_empty_outputs_count_nothing():
    assert result("past", (np.zeros((1, 2, 0, 4)), np.zeros((1, 2, 0, 4))))["rows"] == 0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"output y has shape \[2\] in one model and \[3\] in the other"):
        result("y", (np.zeros(2), np.zeros(3)))


def test_equal_infinities_are_no_difference():
    logits = np.array([[1.0, 2.0, -np.inf], [0.5, -np.inf, 0.0]], np.float32)
    found = OutputDifference("logits", 1e-6)
    found.add(logits, logits + np.float32(0.25))
    result = found.result()
    assert result["max_difference"] == 0.25
    assert result["kl_divergence"] == pytest.approx(0, abs=1e-6)
