"""Expected bytes of weights that one decoded token reads, from the shapes and storage of the layers and a measured sparsity."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from scap_ov.custom_ops.formats.planes import step_group
from scap_ov.sites import Layer, Site

_SCALE_BYTES = {"f16": 2, "bf16": 2, "f32": 4, "": 0}


def layer_bytes(layer: Layer) -> tuple[float, float]:
    """Bytes of a layer's weights, and bytes of its scales and zero points."""
    weights = layer.in_features * layer.out_features * layer.weight.bits / 8
    if not layer.weight.group_size:
        return weights, 0.0
    groups = math.ceil(layer.in_features / layer.weight.group_size) * layer.out_features
    zero_points = groups * layer.weight.bits / 8 if layer.weight.has_zero_point else 0.0
    return weights, groups * _SCALE_BYTES[layer.weight.scale_dtype] + zero_points


def weight_bytes_per_token(sites: Iterable[Site], sparsity: Mapping[str, float], graded: Collection[str] = ()) -> float:
    """Bytes that a token reads when each site skips its share of weight bytes; scales, zero points, steps and offsets are read whole.

    :param sites: all fully connected layers of the model, lm_head among them.
    :param sparsity: site name -> share of bytes that are skipped; a site that is not named is dense. Of routed experts, those count
        that a token uses.
    :param graded: names of the sites that are read by half: their planes have a step and an offset of a byte each per group and output.
    """
    total = 0.0
    for site in sites:
        for layer in site.layers:
            weights, rest = layer_bytes(layer)
            total += (weights * (1 - sparsity.get(site.name, 0.0)) + rest) * site.copies
            if site.name in graded:
                group = step_group(layer.weight.group_size, layer.in_features)
                total += 2 * layer.out_features * math.ceil(layer.in_features / group)
    return total
