"""Plans as inputs of a model: the vectors are cut where the sites say. What they do: test_insert_sparsity."""

from __future__ import annotations

import numpy as np
import openvino as ov
from made_up_profile import make_sites
from openvino import opset13 as ops

from scap_ov.passes.openvino.runtime_inputs import RuntimeInputs
from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS

SITES = make_sites(2)


def test_every_site_gets_its_part_of_the_vectors():
    x = ops.parameter([1], np.float32, name="x")
    model = ov.Model([ops.result(x)], [x], "m")
    inputs = RuntimeInputs(model, SITES)
    parts = [inputs.of(site, 3) for site in SITES]
    outputs = [output for threshold, center, layers in parts for output in (threshold, center, *layers)]
    model.add_results([ops.result(output) for output in outputs])
    channels = sum(s.in_features for s in SITES)
    sizes = {THRESHOLDS: channels, CENTERS: channels, COMPENSATION: sum(s.out_features for s in SITES)}
    assert {p.output(0).get_any_name(): p.shape[0] for p in model.get_parameters()[1:]} == sizes
    feeds = {name: np.arange(size, dtype=np.float32) for name, size in sizes.items()}
    values = [np.array(v) for v in ov.Core().compile_model(model, "CPU")({"x": np.zeros(1, np.float32), **feeds}).values()][1:]
    position, center_at, out_at = 0, 0, 0
    for site in SITES:
        k = site.in_features
        for value in values[position : position + 2]:
            np.testing.assert_array_equal(value, np.arange(center_at, center_at + k).reshape(1, 1, k))
        assert inputs.channel_range[site.name] == (center_at, center_at + k)
        assert inputs.compensation_range[site.name] == (out_at, out_at + site.out_features)
        for value, layer in zip(values[position + 2 :], site.layers, strict=False):
            np.testing.assert_array_equal(value, np.arange(out_at, out_at + layer.out_features))
            out_at += layer.out_features
        position, center_at = position + 2 + len(site.layers), center_at + k
    assert position == len(values)
