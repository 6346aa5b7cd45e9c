"""Samples as people's transform functions give them: read, completed, or refused in a sentence that says which one."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import tiny_models as tiny

from scap_ov.errors import BadDatasetError
from scap_ov.models.sample import SampleReader, counted_rows

IDS = [5, 6, 7]


@pytest.fixture(scope="module")
def reader():
    model = tiny.encoder(tiny.logits)
    model.add_parameters([tiny.parameter("attention_mask", [-1, -1])])
    return SampleReader(model)


@pytest.mark.parametrize(
    "item",
    [
        {"input_ids": [IDS]}, {"input_ids": IDS}, {"input_ids": np.array(IDS)}, np.array(IDS), np.array([IDS]), IDS, [IDS],
        (np.array([IDS]),),
        {"input_ids": [IDS], "labels": ["a"]}, {"input_ids": np.array([IDS], np.float32)}, {"input_ids": ov.Tensor(np.array([IDS]))},
        (IDS, np.ones((1, 3))),
    ],
)  # fmt: skip
def test_one_sequence(reader, item):
    """Rules 1 to 4."""
    sample = reader.read(item, 0)
    assert sample.values["input_ids"].tolist() == [IDS]
    assert sample.values["attention_mask"].tolist() == [[1, 1, 1]]
    assert sample.mask.tolist() == [[False, True, True]]
    assert sample.starts


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (None, "sample 3 is None; give a dict of arrays"),
        ("hello", "sample 3 is a str; give a dict"),
        (7, "sample 3 is a int; give a dict"),
        ({"input_ids": ["hello"]}, "sample 3: its input_ids is a list of <U5, not of numbers"),
        ({"input_ids": [[1, 2], [3]]}, "sample 3: its input_ids is no array of numbers .* so pad them"),
        ({"input_ids": np.zeros((1, 0), np.int64)}, "sample 3 holds no token"),
        ({"input_ids": [[1, 2.5]]}, "sample 3: its input_ids holds 2.5, which is no token id"),
        ({"input_ids": [[1, 100]]}, "sample 3: its input_ids holds 100, and the model knows 0 to 99"),
        ({"input_ids": [[1, -100]]}, "sample 3: its input_ids holds -100"),
    ],
)
def test_refused(reader, item, says):
    with pytest.raises(BadDatasetError, match=says):
        reader.read(item, 3)


def test_padding_does_not_count(reader):
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 0]])
    sample = reader.read({"input_ids": np.ones((2, 4), np.int64), "attention_mask": mask}, 0)
    assert sample.mask.tolist() == [[False, False, False, True], [False, True, True, False]]
    assert counted_rows((2, 4, 8), sample.mask).tolist() == counted_rows((8, 8), sample.mask).tolist() == sample.mask.reshape(-1).tolist()
    assert counted_rows((2, 8), sample.mask).tolist() == [True, True]  # a pooled output
    assert counted_rows((2, 3, 8), None).tolist() == [False, True, True] * 2  # patches
