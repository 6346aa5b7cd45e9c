"""What a site is: one activation tensor and the fully connected layers that read it. Backend-independent, no graph nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class SiteKind(str, Enum):
    """Role of a site in its block, found from the graph around it."""

    QKV = "qkv"
    O = "o"  # noqa: E741 - the field's name of the attention output projection
    UP = "up"  # gate and up, or the first layer of an ungated FFN
    DOWN = "down"
    EXPERT_UP = "expert_up"  # gate and up of all routed experts of a block
    EXPERT_DOWN = "expert_down"
    LM_HEAD = "lm_head"
    OTHER = "other"


@dataclass(frozen=True)
class WeightSpec:
    """How the weight of one layer is stored in the model.

    `dtype` is the stored element type: f32, f16, bf16, i8, u8, i4 or u4. `group_size` counts input channels
    that share a scale: in_features for per-channel weights, 0 for float weights.
    """

    dtype: str
    group_size: int = 0
    scale_dtype: str = ""  # "f16" | "f32" | "bf16"; "" for float weights
    has_zero_point: bool = False

    @property
    def bits(self) -> int:
        """Bits per weight element, scales and zero points not counted."""
        return {"f32": 32, "f16": 16, "bf16": 16, "i8": 8, "u8": 8, "i4": 4, "u4": 4}[self.dtype]


@dataclass(frozen=True)
class Layer:
    """One fully connected layer: y[..., N] = x[..., K] @ W.T, W of shape [N, K]."""

    name: str  # friendly name of the MatMul node
    in_features: int
    out_features: int
    weight: WeightSpec


@dataclass(frozen=True)
class Site:
    """One input tensor and its readers. `name` is canonical: the same for IR and ONNX of one network, e.g. `block.3.qkv`.

    A site of routed experts stands for all of them: its layers are those of one expert, and a token reads `experts_per_token` of `experts`.
    """

    name: str
    kind: SiteKind
    block: int  # index of the Transformer block, -1 when the site belongs to none
    layers: tuple[Layer, ...]
    experts: int = 0  # 0: not routed
    experts_per_token: int = 0

    @property
    def rows_per_token(self) -> int:
        """Rows that a token has in the site's input: what `down` of routed experts reads has one for each expert that is used."""
        return self.copies if self.kind is SiteKind.EXPERT_DOWN else 1

    @property
    def copies(self) -> int:
        """How many times over a token reads weights of the site's shape."""
        return max(self.experts_per_token, 1)

    @property
    def in_features(self) -> int:
        """K, the number of input channels."""
        return self.layers[0].in_features

    @property
    def weight_bytes(self) -> float:
        """Bytes of these weights, scales and zero points not counted."""
        return self.copies * sum(layer.in_features * layer.out_features * layer.weight.bits / 8 for layer in self.layers)

    @property
    def two_planes(self) -> bool:
        """Whether all its weights are of 8 bits, so that a channel can be read by half."""
        return all(layer.weight.dtype in ("u8", "i8") for layer in self.layers)

    @property
    def out_features(self) -> int:
        """N, summed over the layers."""
        return sum(layer.out_features for layer in self.layers)

    @property
    def weight_count(self) -> int:
        """Number of weights that a token reads here when dense: the weight of this site in every model-wide mean."""
        return self.in_features * self.out_features * self.copies


def expert_pairs(sites: Sequence[Site]) -> list[tuple[Site, Site]]:
    """The two sites of each layer of routed experts: that of gate and up, and that of down, which follow in the same order."""
    ups, downs = ([site for site in sites if site.kind is kind] for kind in (SiteKind.EXPERT_UP, SiteKind.EXPERT_DOWN))
    return list(zip(ups, downs, strict=True))
