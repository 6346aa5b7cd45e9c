"""CATS' own rewrite: one mask for up's output and down's input."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from small_llm import TEXT, letters, small_llm

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.models.dataset import model_inputs, text_dataset
from scap_ov.models.runner import EXACT
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.gate_activation import gate_activation
from scap_ov.passes.openvino.insert_cats import InsertCats, gate_masks
from scap_ov.plan import SparsityPlan
from scap_ov.sites import SiteKind

CONFIG = scap_ov.SparsityConfig(method="cats", scope="ffn", target_sparsity=1 / 3, rows="all")
IDS = np.array([letters(TEXT[:24])], np.int64)


@pytest.fixture(scope="module")
def model():
    return small_llm("f16")


@pytest.fixture(scope="module")
def plan(model) -> SparsityPlan:
    return scap_ov.fit(observe(model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=1024)), CONFIG)


def run(model, extra=()):
    clone = model.clone()
    outputs = [clone.outputs[0].get_node().input_value(0), *(by(clone) for by in extra)]
    made = ov.Model(outputs, clone.get_sinks(), clone.get_parameters())
    request = ov.Core().compile_model(made, "CPU", EXACT).create_infer_request()
    request.infer(model_inputs(made, IDS))
    return [np.array(request.get_output_tensor(i).data) for i in range(len(outputs))]


def down(clone):
    return next(m for m in find_sites(clone).matches if m.site.name == "block.0.down")


def test_what_the_gate_drops_is_zero_in_down_and_the_rest_is_untouched(model, plan):
    made = InsertCats(plan)(model.clone()).model
    gate, product = run(model, [lambda m: gate_activation(down(m).source), lambda m: down(m).source])[1:]
    mask = gate_masks(made)["block.0.down"]
    assert mask.get_input_size() == 3
    masked = run(made, [lambda m: gate_masks(m)["block.0.down"].output(0).get_target_inputs().pop().get_node().output(0)])[1]
    keep = np.abs(gate) > plan.entries["block.0.down"].threshold
    keep[:, 0] = True  # position 0 is computed dense
    np.testing.assert_allclose(masked, np.where(keep, product, 0), atol=1e-6)
    assert 0.3 < 1 - keep[:, 1:].mean() < 0.7


def test_nothing_to_drop_gives_the_stock_model(model, plan):
    nothing = {n: replace(e, threshold=np.array([-1], np.float32)) for n, e in plan.entries.items()}
    made = InsertCats(replace(plan, entries=nothing))(model.clone()).model
    np.testing.assert_allclose(run(made)[0], run(model)[0], atol=1e-5)


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_evaluation_measures_the_share_of_both_layers(model, plan, rows):
    """Also of a model for deployment, whose policy takes a window of text for a prompt."""
    made = scap_ov.apply(model, replace(plan, config=replace(CONFIG, rows=rows)), form="portable")
    found = scap_ov.evaluate(made, model, [np.array(letters(TEXT[:200]))])
    shares = {site.name: site.sparsity for site in found.sites}
    assert shares["block.0.down"] == pytest.approx(0.5, abs=0.1)
    assert shares["block.0.up"] == pytest.approx(shares["block.0.down"] / 2, abs=1e-6)
    assert found.kl_divergence > 1e-5
    assert {s.kind for s in plan.sites if s.name in shares} == {SiteKind.UP, SiteKind.DOWN}
