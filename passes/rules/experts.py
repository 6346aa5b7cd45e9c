"""A layer of routed experts in a graph, whatever form it has there. Made by: match_experts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.passes.rules.match_pattern import Pattern
from scap_ov.passes.rules.weight_matrix import WeightMatrix


@dataclass(frozen=True)
class Activation:
    """How gate and up become one: act(gate) · up.

    :param kind: `silu`, `gelu_erf`, `gelu_tanh`; or `clamped_swiglu` of gpt-oss: g · sigmoid(alpha · g) · (clamp(up, ±limit) + 1) with
        g = min(gate, limit).
    """

    kind: str
    alpha: float = 1.0
    limit: float = 0.0


@dataclass(frozen=True)
class ExpertBlock:
    """A layer of routed experts in a graph.

    :param source: the tokens that all experts read, float [..., K], before our pattern where it is there.
    :param tile: the node that repeats them for every expert; a Reshape may stand between.
    :param ids: chosen experts, integer [T, k]; different ones for each token.
    :param routing: their weights, float [T, k].
    :param experts: E.
    :param used: k.
    :param up: the products of gate and up, or the one product of both.
    :param activation: with kind `clamped_swiglu` the outputs of gate and up alternate.
    :param hidden: what `down` multiplies, [E, T, N], before our pattern where it is there.
    :param biases: behind `up` and behind `down`, float32 [E, N'], or None.
    :param result: the output of the whole, [T, H] or [T, 1, H].
    :param pruned_source, pruned_hidden: our pattern, where it is there.
    """

    source: ov.Output
    tile: ov.Node
    ids: ov.Output
    routing: ov.Output
    experts: int
    used: int
    up: tuple[ov.Node, ...]
    down: ov.Node
    activation: Activation
    hidden: ov.Output
    biases: tuple[np.ndarray | None, np.ndarray | None]
    result: ov.Output
    pruned_source: Pattern | None = None
    pruned_hidden: Pattern | None = None

    @property
    def layers(self) -> tuple[ov.Node, ...]:
        """All products."""
        return (*self.up, self.down)


@dataclass(frozen=True)
class RoutedExperts:
    """A block and its weights.

    :param up: of the products of `block.up`, each the matrix [E · N, K] of all experts one behind the other.
    :param down: [E · H, N].
    """

    block: ExpertBlock
    up: tuple[WeightMatrix, ...]
    down: WeightMatrix
