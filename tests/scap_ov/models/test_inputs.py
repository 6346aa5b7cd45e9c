"""Inputs are made in the layout that each port asks for, whatever it is called."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import tiny_models as tiny
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.models.inputs import Inputs, Role


def model_of(**ports):
    """:param ports: name -> (shape, type); nothing is computed."""
    nodes = [tiny.parameter(name.replace("__", "."), shape, getattr(ov.Type, dtype)) for name, (shape, dtype) in ports.items()]
    return ov.Model([ops.shape_of(node) for node in nodes], nodes, "m")


def attention(order, shape, grows):
    """Keys [B, T, 2, 16], turned by `order`, behind a past of this shape."""
    ids = tiny.parameter("input_ids", [-1, -1])
    keys = ops.reshape(ops.gather(tiny.Weights()(tiny.VOCABULARY, 32), ids, np.int32(0)), np.array([0, 0, 2, 16]), True)
    past = tiny.parameter("past_key_values.0.key", shape, np.float32)
    whole = ops.concat([ops.convert(past, np.float32), ops.transpose(keys, np.array(order))], grows)
    return ov.Model([whole], [ids, past], "m")


@pytest.mark.parametrize(
    ("order", "shape", "grows", "wanted"),
    [
        ([0, 1, 2, 3], [-1, -1, 2, 16], 1, [3, 0, 2, 16]),
        ([1, 0, 2, 3], [-1, -1, 2, 16], 0, [0, 3, 2, 16]),
        ([1, 0, 2, 3], [-1, 1, 2, 16], 0, [0, 1, 2, 16]),
        ([0, 2, 1, 3], [-1, 2, -1, 16], 2, [3, 2, 0, 16]),
        ([0, 2, 3, 1], [-1, 2, 16, -1], 3, [3, 2, 16, 0]),
    ],
)
def test_a_past_grows_where_the_graph_puts_tokens_behind_it(order, shape, grows, wanted):
    made = Inputs(attention(order, shape, grows)).for_tokens(np.zeros((3, 4), np.int64))
    assert list(made["past_key_values.0.key"].shape) == wanted


@pytest.mark.parametrize("grows", [1, 2])
def test_heads_and_batch_in_one_axis(grows):
    """Bloom: values [B*H, T, D] and keys [B*H, D, T], in which a sequence has as many rows as heads."""
    ids = tiny.parameter("input_ids", [-1, -1])
    order = [0, 1, 2] if grows == 1 else [0, 2, 1]
    hidden = ops.reshape(ops.gather(tiny.Weights()(tiny.VOCABULARY, 32), ids, np.int32(0)), np.array([0, 0, 2, 16]), True)
    heads = ops.transpose(hidden, np.array([0, 2, 1, 3]))
    length = ops.gather(ops.shape_of(ids), np.array([1]), np.int64(0))
    rows = ops.reshape(heads, ops.concat([np.array([-1]), length, np.array([16])], 0), False)
    past = tiny.parameter("past_key_values.0.value", [-1, -1, 16] if grows == 1 else [-1, 16, -1], np.float32)
    model = ov.Model([ops.concat([past, ops.transpose(rows, np.array(order))], grows)], [ids, past], "m")
    made = Inputs(model).for_tokens(np.zeros((3, 4), np.int64))["past_key_values.0.value"]
    assert list(made.shape) == ([6, 0, 16] if grows == 1 else [6, 16, 0])


@pytest.mark.parametrize("name", ["input_ids", "tokens", "token_ids", "input_ids:0", "decoder_input_ids", "x"])
def test_tokens_under_any_name(name):
    inputs = Inputs(model_of(attention_mask=([-1, -1], "i64"), **{name: ([-1, -1], "i32")}))
    assert inputs.named(Role.TOKENS) == [name]
    assert inputs.canonical("input_ids") == name
    made = inputs.for_tokens(np.array([[5, 6]]))
    assert made[name].dtype == np.int32
    assert made["attention_mask"].tolist() == [[1, 1]]


def test_other_names_of_a_past():
    names = ["past_key_values__0__key", "past__0__value", "key_cache__0", "value_cache__1", "cache__2", "key__3"]
    inputs = Inputs(model_of(input_ids=([-1, -1], "i64"), **{name: ([-1, 2, -1, 8], "f32") for name in names}))
    assert len(inputs.named(Role.PAST)) == len(names)
    assert {value.shape for name, value in inputs.for_tokens(np.zeros((2, 3), np.int64)).items() if name != "input_ids"} == {(2, 2, 0, 8)}


@pytest.mark.parametrize("name", ["pixel_values", "encoder_hidden_states", "input_features"])
def test_what_tokens_do_not_determine(name):
    with pytest.raises(BadModelError, match=f"the model's input '{name}' cannot be made from token ids"):
        Inputs(model_of(input_ids=([-1, -1], "i64"), **{name: ([-1, -1, 8], "f32")})).for_tokens(np.zeros((1, 2), np.int64))


def test_positions_count_from_the_first_token_that_is_no_padding():
    inputs = Inputs(model_of(input_ids=([-1, -1], "i64"), position_ids=([-1, -1], "i64"), attention_mask=([-1, -1], "i64")))
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    made = inputs.made(2, 5, mask=mask)
    assert made["position_ids"].tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 2, 2]]
    assert made["attention_mask"].tolist() == mask.tolist()


def test_positions_of_three_axes_and_of_one():
    inputs = Inputs(model_of(input_ids=([-1, -1], "i64"), position_ids=([3, -1, -1], "i64"), cache_position=([-1], "i64")))
    made = inputs.for_tokens(np.zeros((2, 3), np.int64), past=4)
    assert made["position_ids"].tolist() == [[[4, 5, 6]] * 2] * 3
    assert made["cache_position"].tolist() == [4, 5, 6]


def test_vocabulary_is_that_of_the_table():
    assert Inputs(tiny.encoder(tiny.logits)).vocabulary() == tiny.VOCABULARY
    assert Inputs(model_of(input_ids=([-1, -1], "i64"))).vocabulary() == 0
