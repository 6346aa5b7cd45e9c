"""A plan comes back as it was written; numbers that no fit gives, damage and newer versions are refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_models as tiny
from safetensors import safe_open
from safetensors.numpy import save_file

import scap_ov
from scap_ov.errors import ScapError, UsageError
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.storage.rt_info import read_record

MODEL = tiny.encoder(tiny.logits)
SITES = tuple(match.site for match in find_sites(MODEL, lm_head=True).matches)
NAME = SITES[0].name


def plan(**changed):
    entry = SitePlan(NAME, np.float32([0.5]), np.float32([0.1]), 0.5, np.zeros(SITES[0].out_features, np.float32))
    return SparsityPlan(scap_ov.SparsityConfig(), fingerprint(MODEL), SITES, {NAME: replace(entry, **changed)})


def changed_file(path, change):
    """Change the description and the arrays of a file in place."""
    with safe_open(str(path), "numpy") as f:
        key, text = next(iter(f.metadata().items()))
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - safe_open is no mapping
    meta = json.loads(text)
    change(meta, tensors)
    save_file(tensors, str(path), metadata={key: json.dumps(meta)})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"threshold": np.float32([np.nan])}, f"threshold of {NAME} holds nan"),
        ({"threshold": np.float32([np.inf])}, f"threshold of {NAME} holds inf"),
        ({"center": np.float32([np.nan])}, f"center of {NAME} holds nan"),
        ({"center": np.where(np.arange(tiny.HIDDEN) == 3, -np.inf, 0).astype(np.float32)}, f"center of {NAME} holds -inf"),
        ({"center": np.float32([1e38])}, f"center of {NAME} is 1.0e.38; no activation is beyond 1e.08"),
        ({"compensation": np.full(SITES[0].out_features, np.nan, np.float32)}, f"compensation of {NAME} holds nan"),
        ({"whole_threshold": np.float32([np.nan])}, f"whole_threshold of {NAME} holds nan"),
        ({"expected_sparsity": None}, "expected_sparsity of .* is None"),
        ({"expected_sparsity": 7.0}, "expected_sparsity of .* is 7.0; it is a share from 0 to 1"),
        ({"expected_sparsity": float("nan")}, "expected_sparsity of .* is nan"),
        ({"expected_sparsity": "a"}, "expected_sparsity of .* is 'a'"),
        ({"expected_dropped": True, "whole_threshold": np.float32([1])}, "expected_dropped of .* is True"),
    ],
)
def test_numbers_that_no_fit_gives(changed, says, tmp_path):
    """Refused when they are read, and when such a plan is applied from memory."""
    odd = plan(**changed)
    odd.save(tmp_path / "plan")
    with pytest.raises(UsageError, match=says):
        SparsityPlan.load(tmp_path / "plan")
    with pytest.raises(UsageError, match=says):
        scap_ov.apply(MODEL, odd, form="portable")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"threshold": [0.5]}, r"threshold of .* is \[0.5\]; it is an array of numbers"),
        ({"threshold": np.array(["a"])}, "threshold of .* is an array of <U1"),
        ({"threshold": np.float64([1e300])}, f"threshold of {NAME} holds 1e.300; numbers are finite there"),
        ({"center": None}, "center of .* is None"),
        ({"center": np.zeros(1, np.complex64)}, "center of .* is an array of complex64"),
        ({"threshold": np.float32([[0.5]])}, r"threshold of .* has shape \[1, 1\]"),
        ({"site": "elsewhere"}, f"entry of {NAME} says that it is of elsewhere"),
    ],
)
def test_entries_that_are_no_arrays_or_of_another_site(changed, says):
    with pytest.raises(ScapError, match=says):
        scap_ov.apply(MODEL, plan(**changed), form="portable")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m, t: m.pop("sites"), "damaged sparsity plan .it lacks sites"),
        (lambda m, t: m.pop("version"), "it lacks version"),
        (lambda m, t: m.update(version="2"), "its version is '2'"),
        (lambda m, t: m.update(version=99), "of version 99, this scap_ov knows up to"),
        (lambda m, t: m.update(expected=[1]), "damaged sparsity plan"),
        (lambda m, t: m["sites"][0].pop("kind"), "it lacks kind"),
        (lambda m, t: m["sites"][0].update(kind="x"), "damaged sparsity plan"),
        (lambda m, t: m.update(sites=m["sites"][1:]), f"it prunes {NAME}, which is none of its sites"),
        (lambda m, t: t.pop(f"{NAME}/center"), f"it lacks {NAME}/center"),
        (lambda m, t: m["config"].update(zzz=1), "unknown key 'zzz'"),
    ],
)
def test_damaged_file(change, says, tmp_path):
    plan().save(tmp_path / "plan")
    changed_file(tmp_path / "plan", change)
    with pytest.raises(UsageError, match=says):
        SparsityPlan.load(tmp_path / "plan")


def test_what_is_recorded_is_what_is_in_the_model():
    """A site that cannot be lowered is recorded as portable, not as stock."""
    turned = tiny.encoder(tiny.logits, hidden_first=True)
    sites = tuple(match.site for match in find_sites(turned, lm_head=True).matches)
    whole = replace(plan(), fingerprint=fingerprint(turned), sites=sites, config=scap_ov.SparsityConfig(rows="all", replace="always"))
    sparse = scap_ov.apply(turned, whole)
    summary = read_record(sparse)["summary"]
    states = {site["name"]: (site["state"], site["reason"]) for site in summary["sites"]}
    assert states[NAME][0] == "portable"
    assert "its input is [T, B, K]" in states[NAME][1]
    assert not any(node.get_type_name() == "SparseMatMul" for node in sparse.get_ops())
