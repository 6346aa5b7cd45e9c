"""The plan for a target of 0: every site in scope runs in our ops, and nothing is dropped."""

from __future__ import annotations

import numpy as np
import pytest
from expert_blocks import experts_model, tokens
from pruned_layers import infer
from small_llm import small_llm

import scap_ov
from scap_ov.errors import UsageError


def test_no_data_is_needed_and_the_output_stays():
    built = experts_model("u4")
    config = scap_ov.SparsityConfig(target_sparsity=0, replace="always", dynamic_quantization=False)
    model = scap_ov.apply(built.model, config=config)
    assert [node.get_type_name() for node in model.get_ops()].count("SparseExperts") == 1
    inputs = tokens(1, 3)
    expected = infer(built.model, inputs)[0]
    np.testing.assert_allclose(infer(model, inputs)[0], expected, atol=2e-6 * np.abs(expected).max())


def test_scope_and_ignored_scope_count():
    config = scap_ov.SparsityConfig(target_sparsity=0, replace="always", scope="ffn", ignored_scope=("block.1.up",))
    model = scap_ov.apply(small_llm(), config=config, form="portable")
    pruned = {node.get_friendly_name() for node in model.get_ops() if node.get_friendly_name().startswith("scap_ov.")}
    assert pruned == {"scap_ov.block.0.up", "scap_ov.block.0.down", "scap_ov.block.1.down"}


def test_compensation_has_nothing_to_make_up_for():
    with pytest.raises(UsageError, match="drops nothing"):
        scap_ov.apply(small_llm(), config=scap_ov.SparsityConfig(target_sparsity=0, compensation=True))


def test_data_is_needed_above_0():
    with pytest.raises(UsageError, match="nncf"):
        scap_ov.apply(small_llm(), config=scap_ov.SparsityConfig(target_sparsity=0.3))
