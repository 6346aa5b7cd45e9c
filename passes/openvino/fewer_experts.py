"""Let tokens use fewer of the routed experts than the router was trained for: the constant of its TopK. Undone by: remove_sparsity.

TopK(scores [T, E], k) -> ids, values [T, k]        k' instead of k; the new constant is named `scap_ov.experts_of.{k}`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.rules.experts import ExpertBlock

_NAME = f"{PREFIX}experts_of."


class FewerExperts(Pass[ov.Model]):
    """Change how many experts a token uses in some layers, in place.

    Routing weights that the graph normalises behind the choice are those of the experts that are left; others stay as they are.

    :param used: experts that a token is to use, by site; a site that is not named keeps all.
    :param blocks: of the graph, by the same names.
    :raises BadModelError: the graph of a layer does not follow, as where a shape holds the number; the model is of no use then.
    """

    def __init__(self, used: Mapping[str, int], blocks: Mapping[str, ExpertBlock | None]) -> None:
        self._used, self._blocks = used, blocks

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Change the constants."""
        asked = {name: block for name, block in self._blocks.items() if block is not None and self._used.get(name, block.used) < block.used}
        for name, block in asked.items():
            router = block.ids.get_node()
            if router.get_type_name() == "TopK" and _stock_count(router) is None:  # the other site of the layer may have changed it
                _set(router, self._used[name], f"{_NAME}{block.used}")
        try:
            if asked:
                model.validate_nodes_and_infer_types()
            lost = [
                name for name, block in asked.items() if [b.used for b in match_experts([block.result.get_node()])[0]] != [self._used[name]]
            ]
        except RuntimeError:  # shapes that do not fit any more
            lost = list(asked)
        if lost:
            msg = (f"tokens cannot use fewer experts at {len(lost)} sites ({', '.join(lost[:3])}): the graph holds their number in other "
                   "places than the router's choice; leave fewer_experts out")  # fmt: skip
            raise BadModelError(msg)
        return PassResult(model, bool(asked))


def all_experts(nodes: Iterable[ov.Node]) -> bool:
    """Give routers their number of experts back, in place.

    :return: whether there was one to change.
    """
    changed = False
    for node in nodes:
        count = _stock_count(node)
        if count is not None:
            _set(node, count, "")
            changed = True
    return changed


def used_experts(blocks: Sequence[ExpertBlock]) -> dict[int, int]:
    """Of layers that use fewer experts, by instance id of the router's TopK, how many."""
    return {b.ids.get_node().get_instance_id(): b.used for b in blocks if _stock_count(b.ids.get_node()) is not None}


def _stock_count(node: ov.Node) -> int | None:
    """How many experts a router's TopK chose before; None where nothing was changed."""
    if node.get_type_name() != "TopK":
        return None
    name = str(node.input_value(1).get_node().get_friendly_name())
    number = name.removeprefix(_NAME)
    return int(number) if name.startswith(_NAME) and number.isdecimal() else None


def _set(router: ov.Node, count: int, name: str) -> None:
    old = router.input_value(1)
    new = ops.constant(np.array(count, old.get_element_type().to_dtype()).reshape(old.get_partial_shape().to_shape()))
    if name:
        new.set_friendly_name(name)
    router.input(1).replace_source_output(new.output(0))
