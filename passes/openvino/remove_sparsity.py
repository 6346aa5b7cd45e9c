"""Take the portable pattern out of a model again. Undoes: insert_sparsity. After: raise_sparse_matmul, for a lowered model."""

from __future__ import annotations

import openvino as ov

from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.fewer_experts import all_experts
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.portable_pattern import follow
from scap_ov.passes.rules.match_pattern import Pattern, match_patterns


class RemoveSparsity(Pass[ov.Model]):
    """Make every layer that reads a pruned tensor read the tensor itself, in place.

    1. The compensation goes with the pattern, and so does what is read by half. Routed experts get their tokens back, and `down` what
       it read. Routers that choose fewer experts choose all of theirs again.
    2. A second run changes nothing.
    """

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Remove all patterns."""
        patterns = match_patterns(model)
        for pattern in patterns:
            for layer in pattern.layers:
                layer.matmul.input(0).replace_source_output(follow(pattern.source, list(layer.path)))
                if layer.compensation is not None or layer.half is not None:
                    replace_output(layer.result, layer.matmul.output(0))
        blocks = [block for block in match_experts(model.get_ordered_ops())[0] if block.pruned_source or block.pruned_hidden]
        for block in blocks:
            for own in (block.pruned_source, block.pruned_hidden):
                if own is not None:
                    _give_back(own)
        changed = all_experts(model.get_ordered_ops()) or bool(patterns or blocks)
        if changed:
            model.validate_nodes_and_infer_types()
        return PassResult(model, changed)


def _give_back(pattern: Pattern) -> None:
    """Let what reads the pruned tensor of routed experts read the tensor itself, and their products stand for themselves."""
    for reader in list(pattern.select.output(0).get_target_inputs()):
        reader.replace_source_output(pattern.source)
    for layer in pattern.layers:
        if layer.half is not None:
            replace_output(layer.result, layer.matmul.output(0))


def replace_output(old: ov.Output, new: ov.Output) -> None:
    """Make the readers of one output read another, which gets the tensor names too."""
    names = old.get_names()
    for reader in list(old.get_target_inputs()):
        reader.replace_source_output(new)
    old.get_tensor().set_names(set())
    new.get_tensor().add_names(names)
