"""One level of a model with several, ready to be evaluated."""

from __future__ import annotations

from numbers import Real

import openvino as ov

from scap_ov import dial
from scap_ov.arguments import check_type
from scap_ov.errors import UsageError
from scap_ov.passes.openvino.choose_level import ChooseLevel
from scap_ov.passes.openvino.level_blocks import levels_in


def at_level(model: ov.Model, level: float | None = None) -> ov.Model:
    """The model with one level left, in place; one without levels as it is.

    :param level: None for the level that the model would run with: SCAP_OV_LEVEL, what was chosen, or that which it starts with.
    :raises UsageError: the model has no levels, or not this one.
    """
    if level is not None:
        check_type("level", level, Real, "a number such as 0.4")
    own = levels_in(model)
    if own is None:
        if level is None:
            return model
        msg = f"level {level:g} is asked for, and the model has no levels; apply it with --levels"
        raise UsageError(msg)
    return ChooseLevel(dial.level(own.model) if level is None else level)(model).model
