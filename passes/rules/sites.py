"""Group fully connected layers into sites and hash them, the same for OpenVINO and ONNX graphs. Called by find_sites of either."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import openvino as ov

from scap_ov.errors import BadModelError
from scap_ov.passes.rules.experts import ExpertBlock, RoutedExperts
from scap_ov.passes.rules.passthrough import carries_channels
from scap_ov.passes.rules.structure import Role, Structure
from scap_ov.passes.rules.tensors import key_of
from scap_ov.passes.rules.weight_matrix import WeightMatrix
from scap_ov.sites import Layer, Site, SiteKind

NOT_ASKED_FOR = "it is the output projection; ask for it with lm_head"
_SAMPLED_ROWS, _SAMPLED_CHANNELS = 3, 1024  # what fingerprint reads of each weight
_PRECEDENCE = (SiteKind.LM_HEAD, SiteKind.O, SiteKind.DOWN, SiteKind.QKV, SiteKind.UP, SiteKind.OTHER)


@dataclass(frozen=True)
class SiteMatch:
    """A site in a graph.

    :param source: the activation tensor, float [..., K].
    :param matmuls: the layers' nodes, in the order of `site.layers`; a Convert or Reshape may stand between source and layer.
    :param weights: of the layers, in the same order; of all experts one behind the other, [E · N, K], where the site is routed.
    :param block: of a site of routed experts.
    """

    site: Site
    source: ov.Output
    matmuls: tuple[ov.Node, ...]
    weights: tuple[WeightMatrix, ...]
    block: ExpertBlock | None = None

    @property
    def readers(self) -> tuple[ov.Node, ...]:
        """The nodes whose first input is to be pruned: the layers, or what spreads the tokens over the experts."""
        return (self.block.tile,) if self.block is not None and self.site.kind is SiteKind.EXPERT_UP else self.matmuls


@dataclass(frozen=True)
class FoundSites:
    """All sites in topological order, and the layers that are none, with the reason.

    :param ordered: all nodes of the graph, in topological order.
    """

    matches: list[SiteMatch]
    skipped: list[tuple[str, str]]
    ordered: Sequence[ov.Node] = field(default=(), repr=False)

    def some(self) -> list[SiteMatch]:
        """The sites, of which there is at least one.

        :raises BadModelError: there is none; names the first layers that are none, with the reasons.
        """
        if not self.matches:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:3])
            told = f" ({why}{'; …' if len(self.skipped) > 3 else ''})" if why else ""
            msg = f"the model has no fully connected layer that could be pruned{told}; give a Transformer model, as optimum-cli exports it"
            raise BadModelError(msg)
        return self.matches

    def without_head(self) -> FoundSites | None:
        """What `find_sites` gives without lm_head; None where a site of the output projection holds other layers too, perhaps."""
        heads = [match for match in self.matches if match.site.kind is SiteKind.LM_HEAD]
        if any(len(match.matmuls) > 1 for match in heads):
            return None
        skipped = [*self.skipped, *((match.site.layers[0].name, NOT_ASKED_FOR) for match in heads)]
        return replace(self, matches=[match for match in self.matches if match.site.kind is not SiteKind.LM_HEAD], skipped=skipped)


@dataclass(frozen=True)
class _Candidate:
    matmul: ov.Node
    weight: WeightMatrix
    role: Role


def sort_out(
    ordered: list[ov.Node],
    layers: list[tuple[ov.Node, WeightMatrix | str]],
    skipped: list[tuple[str, str]],
    *,
    lm_head: bool,
    routed: Sequence[RoutedExperts] = (),
) -> FoundSites:
    """Group layers into sites by the rules of `find_sites`; also for layers of an ONNX graph, as its view shows them.

    :param ordered: all nodes in topological order.
    :param layers: with their weight, or why it cannot be used.
    :param skipped: other layers that can be no site, with the reason.
    :param routed: layers of routed experts, whose products are not among `layers`.
    :raises BadModelError: there is no layer of any kind.
    """
    products = [layer.get_instance_id() for experts in routed for layer in experts.block.layers]
    structure = Structure(ordered, {*(node.get_instance_id() for node, _ in layers), *products})
    candidates = []
    for matmul, weight in layers:
        role = structure.role(matmul)
        reason = weight if isinstance(weight, str) else _objection(matmul, weight, role, lm_head=lm_head)
        if isinstance(weight, str) or reason:
            skipped.append((matmul.get_friendly_name(), reason))
        else:
            candidates.append(_Candidate(matmul, weight, role))
    if not layers and not skipped and not routed:
        msg = "the model has no fully connected layer; give a Transformer model, such as optimum-cli export openvino writes"
        raise BadModelError(msg)
    names = _Names()
    matches = _sites(candidates, names)
    for experts in routed:
        matches += _expert_sites(experts, structure.role(experts.block.down).block, names)
    place = {node.get_instance_id(): i for i, node in enumerate(ordered)}
    matches.sort(key=lambda match: min(place[node.get_instance_id()] for node in match.matmuls))
    return FoundSites(matches, skipped, ordered)


def hash_layers(layers: list[tuple[str, WeightMatrix | str]]) -> str:
    """What `fingerprint` makes of the layers' names and weights, in any order; also for layers of an ONNX graph."""
    digest = hashlib.sha256()
    for name, weight in sorted(layers, key=lambda pair: pair[0]):
        digest.update(name.encode() + b"\0")
        if isinstance(weight, str):
            digest.update(weight.encode())
            continue
        digest.update(f"{weight.shape}{weight.spec.dtype}{weight.spec.group_size}".encode())
        digest.update(np.ascontiguousarray(weight.sample(_SAMPLED_ROWS)[:, :_SAMPLED_CHANNELS]).tobytes())
        for part in (weight.scale, weight.zero_point):
            if part is not None:
                digest.update(part.tobytes())
    return digest.hexdigest()


def _objection(matmul: ov.Node, weight: WeightMatrix, role: Role, *, lm_head: bool) -> str:
    """Why a layer with a usable weight is no site; empty when it is one."""
    reason = _objection_to_input(matmul)
    if reason:
        return reason
    if role.kind is SiteKind.LM_HEAD:
        return weight.not_finite() if lm_head else NOT_ASKED_FOR
    if role.routes:
        return "it routes tokens to experts, and is small"
    if role.starts_state:
        return "it computes an initial state, once for a sequence and for all of its positions"
    other = other_reader(matmul, weight.constant)
    return f"its weight is shared with {other}" if other else weight.not_finite()


def _objection_to_input(matmul: ov.Node) -> str:
    shape = matmul.get_input_partial_shape(0)
    if shape.rank.is_dynamic or shape.rank.get_length() < 2:
        return f"its input has the shape {shape}; at least two dimensions must be known"
    if matmul.get_input_element_type(0).get_type_name() not in ("f32", "f16", "bf16"):
        return f"its input is {matmul.get_input_element_type(0).get_type_name()}; f32, f16 and bf16 are understood"
    return "its weight has more dimensions than its input" if len(matmul.get_input_partial_shape(1)) > len(shape) else ""


def other_reader(matmul: ov.Node, constant: ov.Node) -> str:
    """Name of another node that a weight reaches."""
    own, pending = matmul.get_instance_id(), [constant]
    while pending:
        node = pending.pop()
        for output in node.outputs():
            for target in output.get_target_inputs():
                reader = target.get_node()
                kind = reader.get_type_name()
                if kind in ("Convert", "Subtract", "Multiply", "Reshape", "Slice", "Transpose", "Squeeze", "Unsqueeze"):
                    pending.append(reader)
                elif kind != "ShapeOf" and reader.get_instance_id() != own:
                    return str(reader.get_friendly_name())
    return ""


def _expert_sites(routed: RoutedExperts, number: int, names: _Names) -> Iterator[SiteMatch]:
    """The two sites of a block."""
    block = routed.block
    for kind, source, matmuls, weights in (
        (SiteKind.EXPERT_UP, block.source, block.up, routed.up),
        (SiteKind.EXPERT_DOWN, block.hidden, (block.down,), (routed.down,)),
    ):
        layers = tuple(Layer(m.get_friendly_name(), w.k, w.n // block.experts, w.spec) for m, w in zip(matmuls, weights, strict=True))
        site = Site(names.make(kind, number), kind, number, layers, block.experts, block.used)
        yield SiteMatch(site, source, matmuls, weights, block)


def _sites(candidates: list[_Candidate], names: _Names) -> list[SiteMatch]:
    groups: dict[tuple[int, int], list[_Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(key_of(_root(candidate.matmul.input_value(0))), []).append(candidate)
    matches, ups = [], 0
    for group in groups.values():
        group.sort(key=lambda c: str(c.matmul.get_friendly_name()))  # the same order in every form of a network
        role = min((c.role for c in group), key=lambda r: (_PRECEDENCE.index(r.kind), r.block))
        block = role.block
        if block < 0 and role.kind in (SiteKind.UP, SiteKind.DOWN):  # a network without attention: each `up` begins a block
            ups += role.kind is SiteKind.UP
            block = max(ups - 1, 0)
        direct = {key_of(c.matmul.input_value(0)) for c in group}
        source = group[0].matmul.input_value(0) if len(direct) == 1 else _root(group[0].matmul.input_value(0))
        layers = tuple(Layer(c.matmul.get_friendly_name(), c.weight.k, c.weight.n, c.weight.spec) for c in group)
        site = Site(names.make(role.kind, block), role.kind, block, layers)
        matches.append(SiteMatch(site, source, tuple(c.matmul for c in group), tuple(c.weight for c in group)))
    return matches


class _Names:
    """Canonical names: `block.3.qkv`; `block.3.qkv.2` for a second one; `lm_head`; `other.0`."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def make(self, kind: SiteKind, block: int) -> str:
        if kind is SiteKind.OTHER or (block < 0 and kind is not SiteKind.LM_HEAD):
            number = self._used["other"] = self._used.get("other", -1) + 1
            return f"other.{number}"
        name = "lm_head" if kind is SiteKind.LM_HEAD else f"block.{block}.{kind.value}"
        number = self._used[name] = self._used.get(name, 0) + 1
        return name if number == 1 else f"{name}.{number}"


def _root(value: ov.Output) -> ov.Output:
    while carries_channels(value.get_node()):
        value = value.get_node().input_value(0)
    return value
