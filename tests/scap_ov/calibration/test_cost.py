"""What a calibration will take is told before it starts, and a limit is kept or refused in one sentence."""

from dataclasses import replace

import numpy as np
import pytest
from small_llm import SHAPE, TEXT, letters, small_llm

import scap_ov
from scap_ov.calibration.cost import Cost, expected_cost, parse_bytes, sizes_of
from scap_ov.calibration.observe import GROUP_BYTES
from scap_ov.errors import UsageError
from scap_ov.models.dataset import text_dataset
from scap_ov.sample_models.random_llm import build


@pytest.fixture(scope="module")
def model():
    return small_llm("i4_g32")


def test_tokens_and_the_longest_sample_are_counted(model):
    assert sizes_of(model, text_dataset(TEXT, letters, model, seq_len=48, max_tokens=200)) == (192, 48)  # whole windows


def test_more_text_takes_more_time_and_no_more_memory_than_a_group(model):
    few, many = expected_cost(model, 1_000, 100), expected_cost(model, 100_000_000, 100)
    assert many.seconds > few.seconds > 0
    assert few.group < many.group == GROUP_BYTES
    assert "block by block" in str(few)


def test_a_limit_makes_groups_smaller(model):
    free = expected_cost(model, 100_000_000, 100)
    tight = expected_cost(model, 100_000_000, 100, int(1.25 * (free.least + 20_000_000)))
    assert tight.memory <= free.least + 20_000_000, "a quarter more is wanted than is expected"
    assert tight.group < free.group


def test_a_limit_that_cannot_be_kept_is_refused_before_anything_is_run(model):
    data = text_dataset(TEXT, letters, model, seq_len=48, max_tokens=200)
    with pytest.raises(UsageError, match=r"may take [0-9.]+ GB to calibrate, and --memory allows 0.1 GB; allow more"):
        scap_ov.calibrate(model, data, memory=100_000_000)


def test_all_experts_of_a_block_count_whichever_a_token_uses(model):
    few, many = (build(replace(SHAPE, ffn=64, experts=e, used=2), "i8", 2) for e in (4, 32))
    costs = [expected_cost(made, 1_000, 100) for made in (few, many)]
    weights, activations = 28 * 3 * 64 * 64, 28 * 64 * 100
    assert costs[1].least - costs[0].least >= 4 * (weights + 4 * activations)
    assert not costs[1].whole


def test_of_the_file_only_a_part_is_counted(monkeypatch):
    """Its pages are given back block after block: 4.3 GB for a model of 8B parameters whose file has 4.65 GB."""
    large = build(replace(SHAPE, vocabulary=100_000), "i8", 2)
    told = expected_cost(large, 1_000, 100).least
    monkeypatch.setattr("scap_ov.calibration.cost._MAPPED", 1.0)
    assert 0.6 * 2 * 100_000 * 64 < expected_cost(large, 1_000, 100).least - told < 2 * 100_000 * 64


def test_a_model_without_blocks_is_told(model):
    nameless = model.clone()
    next(p for p in nameless.outputs if "logits" in p.get_names()).get_tensor().set_names({"scores"})
    assert isinstance(expected_cost(nameless, 1_000, 100), Cost)


@pytest.mark.parametrize(("text", "size"), [("8GB", 8_000_000_000), ("7.5 gib", 7.5 * 2**30), ("900MB", 900_000_000)])
def test_sizes_are_read(text, size):
    assert parse_bytes(text) == int(np.floor(size))


@pytest.mark.parametrize("text", ["", "8", "much", "-1GB", "8TB"])
def test_sizes_that_mean_nothing_are_refused(text):
    with pytest.raises(UsageError, match="give a size such as 8GB"):
        parse_bytes(text)
