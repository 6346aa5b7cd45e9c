"""A model that is opened once: its sites and its fingerprint are found once, also in copies."""

from __future__ import annotations

import sys
from collections import Counter

import nncf
import numpy as np
import openvino as ov
import pytest
from small_llm import SHAPE, small_llm
from small_onnx import small_decoder, token_data

import scap_ov
from scap_ov.errors import UsageError
from scap_ov.models.kinds import Kind, kind_of, opened
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.opened import OpenedModel
from scap_ov.passes.onnx import find_sites as onnx_sites
from scap_ov.passes.openvino import find_sites as openvino_sites
from scap_ov.sites import SiteKind


def ids(samples=4):
    rng = np.random.default_rng(0)
    return nncf.Dataset([{"input_ids": rng.integers(0, SHAPE.vocabulary, (1, 24))} for _ in range(samples)])


@pytest.fixture
def calls(monkeypatch):
    """How often each function was called, by its name and that of the graph, wherever it was imported to."""
    counts = Counter()
    for module in (openvino_sites, onnx_sites):
        for name in ("find_sites", "fingerprint"):
            original = getattr(module, name)

            def counted(graph, *args, _original=original, _name=name, **options):
                counts[_name, graph.get_friendly_name() if isinstance(graph, ov.Model) else graph.graph.name] += 1
                return _original(graph, *args, **options)

            for holder in [m for key, m in sys.modules.items() if key.startswith("scap_ov")]:
                if vars(holder).get(name) is original:
                    monkeypatch.setattr(holder, name, counted)
    return counts


def test_one_apply_finds_sites_and_fingerprint_once(calls):
    model = small_llm("i8")
    scap_ov.apply(model, ids())
    own = model.get_friendly_name()
    assert {key: n for key, n in calls.items() if key[1] == own} == {("find_sites", own): 1, ("fingerprint", own): 1}
    assert sum(n for (name, _), n in calls.items() if name == "fingerprint") == 1  # none of the models of a site that are measured


def test_one_apply_of_an_onnx_model_too(calls):
    scap_ov.apply(small_decoder(), token_data())
    assert set(calls.values()) == {1}
    assert {name for name, _ in calls} == {"find_sites", "fingerprint"}


@pytest.mark.parametrize("model", [small_llm(), open_onnx(small_decoder())], ids=["openvino", "onnx"])
def test_sites_in_a_copy_are_those_that_would_be_found_there(model):
    own = opened(model)
    copy, found = own.copy()
    anew = opened(copy).found
    assert [match.site for match in found.matches] == [match.site for match in anew.matches]
    for one, other in zip(found.matches, anew.matches, strict=True):
        assert one.source.get_node().get_friendly_name() == other.source.get_node().get_friendly_name()
        assert [node.get_friendly_name() for node in one.matmuls] == [node.get_friendly_name() for node in other.matmuls]
    mine = {node.get_instance_id() for node in own.found.ordered}
    assert not any(node.get_instance_id() in mine for match in found.matches for node in match.matmuls)
    assert found.skipped == anew.skipped


def test_without_the_output_projection_it_is_what_is_found_without_it():
    model = small_llm()
    derived, anew = OpenedModel(model).found_for(lm_head=False), openvino_sites.find_sites(model)
    assert [match.site for match in derived.matches] == [match.site for match in anew.matches]
    assert derived.skipped == anew.skipped
    assert any(site.kind is SiteKind.LM_HEAD for site in OpenedModel(model).sites)


def test_kinds_are_told_apart():
    assert kind_of(small_llm()) is kind_of(OpenedModel(small_llm())) is Kind.OPENVINO
    assert kind_of(small_decoder()) is kind_of(open_onnx(small_decoder())) is kind_of(opened(open_onnx(small_decoder()))) is Kind.ONNX
    with pytest.raises(UsageError, match=r"builtins\.int is not supported"):
        kind_of(3)
