"""A lowered model is evaluated with the weights that it holds; what is measured is what packing them anew would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pruned_layers import plan_of, vector

import scap_ov
from scap_ov.custom_ops import OP_NAME
from scap_ov.evaluation.evaluate import evaluate
from scap_ov.evaluation.instrument import sparse_view
from scap_ov.gradients.program import EXACT
from scap_ov.models.window_runner import WindowRunner
from scap_ov.passes.base import PassResult
from scap_ov.passes.openvino.every_row import EveryRow
from scap_ov.plan import SitePlan
from scap_ov.sample_models.random_llm import Shape, build

SHAPE = Shape("small", 2, 64, 128, 4, 2, 96)


@pytest.fixture(scope="module")
def models():
    """An int8 model, and the same lowered: blocks read by grades, the output projection whole."""
    stock = build(SHAPE, "i8", 2)
    plan = plan_of(stock, 0.3, lm_head=True)
    entries = {name: replace(entry, whole_threshold=vector(1.0)) for name, entry in plan.entries.items() if name != "lm_head"}
    nothing = SitePlan("lm_head", vector(-1.0), vector(0.0), 0.0)
    plan = replace(plan, entries=entries | {"lm_head": nothing}, config=replace(plan.config, replace="always", method="graded"))
    return stock, scap_ov.apply(stock, plan)


def ops_of(model):
    return [node for node in model.get_ordered_ops() if node.get_type_name() == OP_NAME]


def test_the_weights_stay_where_they_are(models):
    model = models[1].clone()
    before = [node.input_value(1).get_node().data.ctypes.data for node in ops_of(model)]
    view = sparse_view(model, rows="all")
    assert [node.input_value(1).get_node().data.ctypes.data for node in ops_of(view.model)] == before
    assert {node.get_attributes()["rows"] for node in ops_of(view.model)} == {"all"}


def test_what_is_measured_is_that_of_the_plan_put_in_anew(models, monkeypatch):
    stock, sparse = models
    windows = [np.random.default_rng(i).integers(0, SHAPE.vocabulary, 24).tolist() for i in range(2)]
    own = evaluate(sparse, stock, windows)
    monkeypatch.setattr(EveryRow, "call", lambda _, model: PassResult(model, False))
    anew = evaluate(sparse, stock, windows)
    assert own == anew
    assert own.half > 0


def test_logits_of_a_projection_in_the_op_come_in_rows(models):
    sparse = models[1]
    ids = np.arange(20)
    whole, rows = (WindowRunner(sparse.clone(), properties=EXACT, in_rows=in_rows).whole(ids)[0] for in_rows in (False, True))
    assert not isinstance(rows, np.ndarray)
    np.testing.assert_allclose(rows[3:17], whole[3:17], atol=1e-5)  # from nine rows on the op takes its dense path
