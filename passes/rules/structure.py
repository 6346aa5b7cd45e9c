"""Tell the role of a fully connected layer and its block from the graph around it.

Names are not needed: IRs made from GGUF have none. Two sweeps over the graph, each node visited once:
what lies *ahead* of a value before the next layer, and what lies *behind* it since the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import openvino as ov

from scap_ov.sites import SiteKind

# Bits of what is met on the way.
LAYER, ACTIVATION, RESULT, TOP_K, ATTENTION, STATE = 1, 2, 4, 8, 16, 32

_ACTIVATIONS = {"Swish", "Gelu", "Relu", "PRelu", "Elu", "Sigmoid", "HSwish", "HSigmoid", "Mish", "SoftPlus", "Tanh", "Erf", "Clamp"}
_CARRYING = {"Reshape", "Transpose", "Convert", "Squeeze", "Unsqueeze", "Multiply", "Add", "Subtract", "Divide", "Power", "Slice",
             "StridedSlice", "Split", "VariadicSplit", "Concat", "Gather", "GatherND", "Select", "Broadcast"}  # fmt: skip
_AFTER_LOGITS = {"Add", "Multiply", "Divide", "Subtract", "Tanh", "Convert", "Reshape", "Slice", "StridedSlice", "Gather", "Squeeze",
                 "Unsqueeze", "Transpose", "Clamp", "LogSoftmax"}  # fmt: skip
_NAMES = (
    (SiteKind.LM_HEAD, re.compile(r"\blm_head\b|\bembed_out\b|\boutput_projection\b")),
    (
        SiteKind.O,
        re.compile(r"\b(o_proj|out_proj|attn[./]c_proj|attention[./]output|attention[./]dense|self_attention[./]dense|attn[./]proj|wo)\b"),
    ),
    (SiteKind.QKV, re.compile(r"\b([qkv]_proj|qkv_proj|qkv|query_key_value|c_attn|query|key|value|Wqkv|in_proj_qkv)\b")),
    (SiteKind.DOWN, re.compile(r"\b(down_proj|fc2|w2|mlp[./]c_proj|dense_4h_to_h|output[./]dense)\b")),
    (SiteKind.UP, re.compile(r"\b(gate_proj|up_proj|gate_up_proj|fc1|w1|w3|c_fc|dense_h_to_4h|intermediate[./]dense)\b")),
)
_BLOCK = re.compile(r"(?:layers?|blocks?|h|encoder|decoder)[./](\d+)[./]")


@dataclass(frozen=True)
class Role:
    """Of one layer. `block` is -1 outside blocks."""

    kind: SiteKind
    block: int
    routes: bool  # its output chooses experts
    starts_state: bool  # its output is the initial value of a state, as keys and values of an encoder's output are


class Structure:
    """The neighbourhood of every layer of a model.

    :param ordered: the model's nodes in topological order.
    :param layers: instance ids of the MatMuls that are fully connected layers.
    """

    def __init__(self, ordered: list[ov.Node], layers: set[int]) -> None:
        self._nodes = ordered
        self._index = {node.get_instance_id(): i for i, node in enumerate(ordered)}
        self._types = [node.get_type_name() for node in ordered]
        self._inputs = [[self._index[v.get_node().get_instance_id()] for v in node.input_values()] for node in ordered]
        self._layers = {self._index[i] for i in layers}
        self._consumers: list[list[int]] = [[] for _ in ordered]
        for i, sources in enumerate(self._inputs):
            for source in sources:
                self._consumers[source].append(i)
        self._constant = [False] * len(ordered)
        for i, kind in enumerate(self._types):
            sources = self._inputs[i]
            self._constant[i] = kind == "Constant" or (bool(sources) and all(self._constant[s] for s in sources))
        self._cores = self._attention_cores()
        self._ahead, self._core_ahead = self._look_ahead()
        self._behind, self._core_upstream = self._look_behind()
        self._parallel = self._mlp_beside_attention()

    def role(self, matmul: ov.Node) -> Role:
        """The role of a layer."""
        i = self._index[matmul.get_instance_id()]
        source = self._inputs[i][0]
        ahead, behind = self._ahead[i], self._behind[source]
        kind = self._kind(i, ahead, behind)
        if kind is SiteKind.QKV and ahead & ATTENTION:
            block = self._core_ahead[i]
        elif kind in (SiteKind.LM_HEAD, SiteKind.OTHER) or not self._cores:
            block = -1
        else:
            beside = self._parallel and kind in (SiteKind.UP, SiteKind.DOWN)
            block = self._core_upstream[source] + (1 if beside else 0)
        if block < 0 and kind not in (SiteKind.LM_HEAD, SiteKind.OTHER):
            found = _BLOCK.search(matmul.get_friendly_name())
            block = int(found[1]) if found else -1
        routes = bool(ahead & TOP_K) and kind is not SiteKind.LM_HEAD
        return Role(kind, block, routes, bool(ahead & STATE))

    def _kind(self, i: int, ahead: int, behind: int) -> SiteKind:
        if self._gives_logits(i, ahead):
            return SiteKind.LM_HEAD
        if behind & ATTENTION:
            return SiteKind.O
        if behind & ACTIVATION and not ahead & ATTENTION:
            return SiteKind.DOWN
        if ahead & ATTENTION:
            return SiteKind.QKV
        if ahead & ACTIVATION:
            return SiteKind.UP
        name = self._nodes[i].get_friendly_name()
        return next((kind for kind, pattern in _NAMES if kind is not SiteKind.LM_HEAD and pattern.search(name)), SiteKind.OTHER)

    def _gives_logits(self, i: int, ahead: int) -> bool:
        """The last layer: nothing but a bias, capping and slicing before a Result of logits."""
        if ahead & (LAYER | ATTENTION) or not ahead & RESULT:
            return False
        width, depth = channels_of(self._nodes[i].get_output_partial_shape(0)), channels_of(self._nodes[i].get_input_partial_shape(0))
        current = i
        while self._types[current] != "Result":
            after = [c for c in self._consumers[current] if self._types[c] != "ShapeOf"]
            if len(after) != 1 or (self._types[after[0]] not in _AFTER_LOGITS and self._types[after[0]] != "Result"):
                return False
            others = [s for s in self._inputs[after[0]] if s != current]
            if self._types[after[0]] in ("Add", "Subtract") and not all(self._constant[s] for s in others):
                return False  # a residual connection
            current = after[0]
        names = self._nodes[current].input_value(0).get_names()
        wide = depth > 0 and width > 2 * depth
        return "logits" in names or wide or bool(_NAMES[0][1].search(self._nodes[i].get_friendly_name()))

    def _attention_cores(self) -> dict[int, int]:
        """Node index -> block, of every attention: ScaledDotProductAttention, or the product of a softmax and the values.

        A cross-attention, whose values come from no attention while its query does, is in the block of that attention.
        """
        cores: dict[int, int] = {}
        upstream = [-1] * len(self._nodes)
        count = 0
        for i, kind in enumerate(self._types):
            sources = [] if kind == "ShapeOf" else self._inputs[i]
            upstream[i] = max((upstream[s] for s in sources), default=-1)
            values = self._values_of(i)
            if values >= 0:
                cross = upstream[i] >= 0 and upstream[values] < 0
                cores[i] = upstream[i] = upstream[i] if cross else count
                count += not cross
        return cores

    def _values_of(self, i: int) -> int:
        """The index of what an attention weighs; -1 where node i is no attention."""
        kind, sources = self._types[i], self._inputs[i]
        if kind == "ScaledDotProductAttention":
            return sources[2]
        if kind in ("MatMul", "Einsum") and i not in self._layers:
            weights = next((s for s in sources if self._is_softmax(s)), None)
            return -1 if weights is None else next((s for s in reversed(sources) if s != weights), -1)
        return -1

    def _is_softmax(self, i: int) -> bool:
        for _ in range(6):
            kind = self._types[i]
            if kind == "Softmax":
                return True
            if kind not in ("Convert", "Reshape", "Transpose", "Select", "Slice", "Multiply", "Squeeze", "Unsqueeze"):
                return False
            moving = [s for s in self._inputs[i] if not self._constant[s]]
            if not moving:
                return False
            i = moving[-1] if kind == "Select" else moving[0]
        return False

    def _look_ahead(self) -> tuple[list[int], list[int]]:
        """For each node the bits met ahead of its output before the next layer, and the number of the first attention there."""
        bits, core = [0] * len(self._nodes), [-1] * len(self._nodes)
        for i in range(len(self._nodes) - 1, -1, -1):
            for c in self._consumers[i]:
                kind = self._types[c]
                if c in self._layers:
                    bits[i] |= LAYER if self._inputs[c][0] == i else 0
                elif c in self._cores:
                    bits[i] |= ATTENTION
                    core[i] = self._cores[c] if core[i] < 0 else min(core[i], self._cores[c])
                elif kind in ("Result", "TopK"):
                    bits[i] |= RESULT if kind == "Result" else TOP_K
                elif kind not in ("ShapeOf", "Assign"):
                    bits[i] |= bits[c] | (ACTIVATION if kind in _ACTIVATIONS else STATE if kind == "ReadValue" else 0)
                    if core[c] >= 0:
                        core[i] = core[c] if core[i] < 0 else min(core[i], core[c])
        return bits, core

    def _look_behind(self) -> tuple[list[int], list[int]]:
        """For each node the bits met behind its output since the last layer or residual sum, and the last attention upstream at all."""
        bits, core = [0] * len(self._nodes), [-1] * len(self._nodes)
        for i, kind in enumerate(self._types):
            sources = [] if kind == "ShapeOf" else self._inputs[i]
            core[i] = self._cores.get(i, max((core[s] for s in sources), default=-1))
            if i in self._cores:
                bits[i] = ATTENTION
            elif kind in _ACTIVATIONS:
                bits[i] = ACTIVATION
            elif kind in _CARRYING:
                moving = [s for s in sources if not self._constant[s]]
                if len(moving) == 1 or kind not in ("Add", "Subtract"):
                    for s in moving:
                        bits[i] |= bits[s]
        return bits, core

    def _mlp_beside_attention(self) -> bool:
        """Blocks whose FFN reads what the attention reads (GPT-NeoX, Falcon): the first FFN has no attention upstream."""
        ups = [i for i in self._layers if not self._ahead[i] & (ATTENTION | TOP_K) and self._ahead[i] & ACTIVATION
               and not self._behind[self._inputs[i][0]] and not self._gives_logits(i, self._ahead[i])]  # fmt: skip
        reached = {self._core_upstream[self._inputs[i][0]] for i in ups}
        return bool(self._cores) and -1 in reached and max(self._cores.values()) not in reached


def channels_of(shape: ov.PartialShape) -> int:
    """Length of the last dimension, 0 where it is not known."""
    return 0 if shape.rank.is_dynamic or not len(shape) or shape[-1].is_dynamic else int(shape[-1].get_length())
