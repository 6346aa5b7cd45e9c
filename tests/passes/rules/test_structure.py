"""Roles and blocks told from the graph, where names say nothing. Real exports: tests/architectures."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.openvino.find_sites import find_sites

K = 16


class Graph:
    """Layers without telling names; `wanted` is the site that each should be in."""

    def __init__(self):
        self.wanted = {}
        self.parameters = []

    def input(self, *shape):
        self.parameters.append(ops.parameter(ov.PartialShape(list(shape)), np.float32, name=f"x{len(self.parameters)}"))
        return self.parameters[-1]

    def layer(self, x, site, n=K, k=K):
        node = ops.matmul(x, np.ones((n, k), np.float32), False, True)
        node.set_friendly_name(f"n{len(self.wanted)}")
        self.wanted[node.get_friendly_name()] = site
        return node

    def attention(self, query_from, block, *, values_from=None, suffix="", softmax=False):
        """An attention with its projections; values from elsewhere make it a cross-attention."""
        source = query_from if values_from is None else values_from
        states = f"block.{block}.qkv{suffix}" if values_from is None else "block.0.qkv"
        q, k, v = self.layer(query_from, f"block.{block}.qkv{suffix}"), self.layer(source, states), self.layer(source, states)
        if softmax:
            y = ops.matmul(ops.softmax(ops.multiply(ops.matmul(q, k, False, True), np.float32(0.25)), -1), v, False, False)
        else:
            y = ops.scaled_dot_product_attention(q, k, v, causal=False)
        return self.layer(y, f"block.{block}.o{suffix}")

    def gated(self, x, block):
        up = ops.multiply(ops.swish(self.layer(x, f"block.{block}.up", 2 * K)), self.layer(x, f"block.{block}.up", 2 * K))
        return self.layer(up, f"block.{block}.down", K, 2 * K)

    def plain(self, x, block, site=None):
        hidden = ops.gelu(self.layer(x, site or f"block.{block}.up", 2 * K), "ERF")
        return self.layer(hidden, f"block.{block}.down", K, 2 * K)

    def check(self, output):
        model = ov.Model([ops.result(output)], self.parameters, "m")
        found = {layer.name: match.site.name for match in find_sites(model, lm_head=True).matches for layer in match.site.layers}
        assert found == self.wanted


def norm(x):
    mean = ops.reduce_mean(ops.multiply(x, x), np.array([-1]), keep_dims=True)
    return ops.multiply(x, ops.divide(np.float32(1), ops.sqrt(ops.add(mean, np.float32(1e-5)))))


def test_blocks_of_attention_and_gated_ffn():
    g = Graph()
    x = g.input(-1, -1, K)
    for block in range(3):
        x = ops.add(x, g.attention(norm(x), block))
        x = ops.add(x, g.gated(norm(x), block))
    g.check(g.layer(norm(x), "lm_head", 8 * K))


def test_attention_as_softmax_and_products():
    g = Graph()
    x = g.input(-1, -1, K)
    for block in range(2):
        x = ops.add(x, g.attention(norm(x), block, softmax=True))
        x = ops.add(x, g.plain(norm(x), block))
    g.check(norm(x))


def test_ffn_beside_attention_with_a_norm_of_its_own():
    g = Graph()
    x = g.input(-1, -1, K)
    for block in range(2):
        x = ops.add(x, ops.add(g.attention(norm(x), block), g.plain(norm(x), block)))
    g.check(norm(x))


def test_ffn_that_reads_what_attention_reads_is_in_its_site():
    g = Graph()
    x = g.input(-1, -1, K)
    for block in range(2):
        h = norm(x)
        x = ops.add(x, ops.add(g.attention(h, block), g.plain(h, block, site=f"block.{block}.qkv")))
    g.check(norm(x))


def test_cross_attention_is_in_the_block_of_the_attention_before_it():
    g = Graph()
    states, x = g.input(-1, -1, K), g.input(-1, -1, K)
    crossed = []
    for block in range(2):
        x = ops.add(x, g.attention(norm(x), block))
        crossed.append(ops.add(x, g.attention(norm(x), block, values_from=states, suffix=".2")))
        x = ops.add(crossed[-1], g.plain(norm(crossed[-1]), block))
    model = ov.Model([ops.result(norm(x))], g.parameters, "m")
    blocks = {match.site.name: match.site.block for match in find_sites(model).matches}
    assert set(blocks.values()) == {0, 1}
    assert sum(name.endswith(".down") for name in blocks) == 2
    assert blocks["block.1.down"] == 1


def test_an_initial_state_is_no_site():
    g = Graph()
    states, x = g.input(-1, -1, K), g.input(-1, -1, K)
    info = ov.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([-1, -1, K]), ov.Type.f32, "keys"
    variable = ov.op.util.Variable(info)
    first = ops.matmul(states, np.ones((K, K), np.float32), False, True)
    first.set_friendly_name("first")
    kept = ops.read_value(first, variable)
    y = ops.scaled_dot_product_attention(norm(x), kept, kept, causal=False)
    out = ops.matmul(y, np.ones((K, K), np.float32), False, True)
    model = ov.Model([ops.result(norm(out))], [ops.assign(kept, variable)], g.parameters, "m")
    assert dict(find_sites(model).skipped) == {"first": "it computes an initial state, once for a sequence and for all of its positions"}


def test_networks_without_attention():
    g = Graph()
    x = g.input(-1, K)
    for block in range(2):
        x = ops.add(x, g.gated(norm(x), block))
    g.check(norm(x))
