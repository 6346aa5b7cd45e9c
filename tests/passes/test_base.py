"""The contract of passes: requires, then call, then ensures, on the model that was given."""

from __future__ import annotations

import pytest

from scap_ov.passes.base import Pass, PassResult


class Appending(Pass[list]):
    """A pass over lists that notes its steps."""

    def __init__(self, *, swaps=False):
        self._swaps = swaps

    def requires(self, model):
        model.append("requires")

    def call(self, model):
        model.append("call")
        return PassResult(list(model) if self._swaps else model, True, [("site", "reason")])

    def ensures(self, model):
        model.append("ensures")


def test_the_order():
    model = []
    result = Appending()(model)
    assert model == ["requires", "call", "ensures"]
    assert result.model is model
    assert result.skipped == [("site", "reason")]


def test_another_model_is_refused():
    with pytest.raises(TypeError, match="Appending gave back another model; change the one that was given"):
        Appending(swaps=True)([])


def test_requires_keeps_call_from_running():
    class Refusing(Appending):
        def requires(self, model):
            msg = "no"
            raise ValueError(msg)

    model = []
    with pytest.raises(ValueError, match="no"):
        Refusing()(model)
    assert model == []
