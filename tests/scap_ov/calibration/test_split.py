"""Shards of a dataset: all samples once, whatever their number."""

from __future__ import annotations

import pytest

from scap_ov.calibration.split import Shard
from scap_ov.errors import BadDatasetError


class Data:
    def get_inference_data(self):
        return iter(range(10))

    def get_length(self):
        return 10


@pytest.mark.parametrize("count", [1, 3, 10])
def test_every_sample_is_in_one_shard(count):
    shards = [Shard(Data(), number, count) for number in range(1, count + 1)]
    parts = [list(shard.get_inference_data()) for shard in shards]
    assert sorted(sample for part in parts for sample in part) == list(range(10))
    assert [shard.get_length() for shard in shards] == [len(part) for part in parts]


def test_a_shard_beyond_the_data_is_told():
    with pytest.raises(BadDatasetError, match="shard 11/12 is empty: the data has 10 samples; give at most 10 shards"):
        list(Shard(Data(), 11, 12).get_inference_data())
