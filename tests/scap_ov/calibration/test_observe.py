"""Observing an OpenVINO model: what counts as a row, state, bad data, and that nothing of the model changes."""

from __future__ import annotations

import nncf
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from openvino.op.util import Variable, VariableInfo

from scap_ov.calibration import observe as observing
from scap_ov.errors import BadDatasetError, BadModelError, UsageError
from scap_ov.models import opened
from scap_ov.models.dataset import token_dataset
from scap_ov.passes.rules.sites import FoundSites, SiteMatch
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec

VOCABULARY, HIDDEN, FFN = 50, 16, 24
RNG = np.random.default_rng(0)
EMBEDDING = RNG.standard_normal((VOCABULARY, HIDDEN)).astype(np.float32)
GATE, UP = (RNG.standard_normal((FFN, HIDDEN)).astype(np.float32) for _ in range(2))
DOWN = RNG.standard_normal((HIDDEN, FFN)).astype(np.float32)


def ffn_model(embedding: np.ndarray = EMBEDDING, *, stateful: bool = False) -> ov.Model:
    """Embedding and one gated FFN; stateful: the sum of all embeddings so far is added to every token."""
    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    ids.output(0).set_names({"input_ids"})
    mask = ops.parameter([-1, -1], np.int64, name="attention_mask")
    mask.output(0).set_names({"attention_mask"})
    x = ops.gather(ops.constant(embedding), ids, ops.constant(0))
    sinks = []
    if stateful:
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1, HIDDEN]), ov.Type.f32, "sum"
        variable = Variable(info)
        past = ops.read_value(ops.constant(np.zeros((1, HIDDEN), np.float32)), variable)
        total = ops.add(past, ops.reduce_sum(x, ops.constant([1]), keep_dims=False))
        sinks = [ops.assign(total, variable)]
        x = ops.add(x, ops.unsqueeze(past, ops.constant(1)))
    x.output(0).get_node().set_friendly_name("x")
    product = ops.multiply(ops.swish(matmul(x, GATE)), matmul(x, UP))
    product.set_friendly_name("product")
    return ov.Model([ops.result(matmul(product, DOWN))], sinks, [ids, mask], "ffn")


def matmul(x, weight: np.ndarray):
    return ops.matmul(x, ops.constant(weight), transpose_a=False, transpose_b=True)


def fake_find_sites(model: ov.Model, *, lm_head: bool) -> FoundSites:
    assert lm_head
    nodes = {n.get_friendly_name(): n.output(0) for n in model.get_ops()}
    spec = WeightSpec("f32")
    up = Site("block.0.up", SiteKind.UP, 0, (Layer("gate", HIDDEN, FFN, spec), Layer("up", HIDDEN, FFN, spec)))
    down = Site("block.0.down", SiteKind.DOWN, 0, (Layer("down", FFN, HIDDEN, spec),))
    matches = [
        SiteMatch(up, nodes.get("x"), (), (GATE, UP)),
        SiteMatch(down, nodes.get("product"), (), (DOWN,)),
    ]
    return FoundSites([m for m in matches if m.source is not None], [])


@pytest.fixture(autouse=True)
def known_sites(monkeypatch) -> None:
    """The graph is ours, so its sites are known; finding them is tested with the pass."""
    monkeypatch.setattr(opened, "find_sites", fake_find_sites)
    monkeypatch.setattr(opened, "fingerprint", lambda model: model.get_friendly_name())


def observed_rows(dataset, model: ov.Model | None = None) -> np.ndarray:
    own = observing.observe(model or ffn_model(), dataset).statistics["block.0.up"]
    assert own.count == len(own.rows)
    return own.rows[np.lexsort(own.rows.T)]


def as_rows(*ids: int) -> np.ndarray:
    rows = EMBEDDING[list(ids)].astype(np.float16).astype(np.float32)
    return rows[np.lexsort(rows.T)]


def test_rule_1_the_model_that_was_given_is_not_changed() -> None:
    model = ffn_model()
    before = [(n.get_friendly_name(), n.get_type_name()) for n in model.get_ordered_ops()]
    observing.observe(model, token_dataset([[1, 2, 3]], model))
    assert [(n.get_friendly_name(), n.get_type_name()) for n in model.get_ordered_ops()] == before


def test_rule_2_the_first_position_of_each_sequence_is_not_observed() -> None:
    np.testing.assert_array_equal(observed_rows(token_dataset([[1, 2, 3], [4, 5]], ffn_model())), as_rows(2, 3, 5))


def test_rule_2_padding_on_either_side_is_not_observed() -> None:
    batch = {"input_ids": np.array([[0, 0, 1, 2], [3, 4, 5, 0]]), "attention_mask": np.array([[0, 0, 1, 1], [1, 1, 1, 0]])}
    np.testing.assert_array_equal(observed_rows(nncf.Dataset([batch])), as_rows(2, 4, 5))


def test_statistics_are_those_of_the_activations() -> None:
    ids = RNG.integers(0, VOCABULARY, (6, 9))
    profile = observing.observe(ffn_model(), token_dataset(ids.tolist(), ffn_model()))
    x = EMBEDDING[ids][:, 1:].reshape(-1, HIDDEN).astype(np.float64)
    gate = x @ GATE.T
    product = gate / (1 + np.exp(-gate)) * (x @ UP.T)
    down = profile.statistics["block.0.down"]
    np.testing.assert_allclose(down.mean, product.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(down.variance, product.var(0), rtol=1e-4)
    np.testing.assert_allclose(down.column_norm, np.linalg.norm(DOWN, axis=0), rtol=1e-6)
    assert down.tensors["gate_histogram"].sum() == down.histogram.sum() == product.size
    assert "gate_histogram" not in profile.statistics["block.0.up"].tensors
    assert profile.metadata == {"samples": 6, "tokens": 48, "sequential": False}


def test_shards_of_the_data_merge_to_the_profile_of_one_pass() -> None:
    ids = RNG.integers(0, VOCABULARY, (6, 9)).tolist()
    model = ffn_model()
    whole = observing.observe(model, token_dataset(ids, model), capacity=20)
    a, b = (observing.observe(model, token_dataset(part, model), capacity=20) for part in (ids[4:], ids[:4]))
    for name, statistics in a.merge(b).statistics.items():
        for key, value in statistics.tensors.items():
            np.testing.assert_array_equal(value, whole.statistics[name].tensors[key], err_msg=f"{name}/{key}")


def test_state_is_reset_between_samples_unless_the_sample_goes_on() -> None:
    model = ffn_model(stateful=True)
    np.testing.assert_array_equal(observed_rows(token_dataset([[1, 2], [1, 3]], model), model), as_rows(2, 3))
    ids = np.ones((1, 2), np.int64)
    item = {"input_ids": ids, "attention_mask": ids}
    rows = observed_rows(nncf.Dataset([item, {**item, "nncf_reset_state": False}]), model)
    assert len(rows) == 3  # going on, position 0 is not the first of a sequence
    np.testing.assert_allclose(rows[:, 0] / EMBEDDING[1, 0], [1, 3, 3] if EMBEDDING[1, 0] > 0 else [3, 3, 1], rtol=1e-3)


def test_samples_may_be_positional_tensors_or_lack_inputs_that_token_ids_determine() -> None:
    ids = np.array([[1, 2, 3]])
    for item in ((ids, np.ones_like(ids)), ids, {"input_ids": ov.Tensor(ids)}):
        np.testing.assert_array_equal(observed_rows(nncf.Dataset([item])), as_rows(2, 3))


def test_progress_counts_samples() -> None:
    seen: list[tuple[int, int | None]] = []
    model = ffn_model()
    observing.observe(model, token_dataset([[1, 2]] * 3, model), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("value", "told"), [(np.nan, "NaN"), (np.inf, "infinite values"), (1e20, "values of 1.0e\\+20")])
def test_broken_activations_are_told_with_site_and_sample(value: float, told: str) -> None:
    broken = EMBEDDING.copy()
    broken[7, 3] = value
    model = ffn_model(broken)
    with pytest.raises(BadDatasetError, match=rf"site block\.0\.up has {told} on sample 1"):
        observing.observe(model, token_dataset([[1, 2], [1, 7]], model))


def test_data_without_a_row_is_told() -> None:
    model = ffn_model()
    with pytest.raises(BadDatasetError, match="dataset is empty"):
        observing.observe(model, nncf.Dataset([]))
    with pytest.raises(BadDatasetError, match="samples of two tokens and more"):
        observing.observe(model, token_dataset([[1], [2]], model))


def test_data_that_does_not_fit_the_model_is_told_with_both_shapes() -> None:
    with pytest.raises(BadDatasetError, match=r"sample 0 does not fit the model: it takes input_ids \[\?,\?\].* got input_ids \[1, 2, 2\]"):
        observing.observe(
            ffn_model(), nncf.Dataset([{"input_ids": np.zeros((1, 2, 2), np.int64), "attention_mask": np.ones((1, 2), np.int64)}])
        )
    with pytest.raises(UsageError, match=r"is a list; give an nncf\.Dataset"):
        observing.observe(ffn_model(), [{"input_ids": np.ones((1, 2), np.int64)}])


def test_a_model_without_sites_is_told() -> None:
    x = ops.parameter([1, 4], np.float32, name="input")
    with pytest.raises(BadModelError, match="no fully connected layer"):
        observing.observe(ov.Model([ops.relu(x)], [x], "relu"), nncf.Dataset([np.ones((1, 4), np.float32)]))
