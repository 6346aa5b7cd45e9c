"""What every graph pass is: requires -> call -> ensures, in place, with the reason for everything that it left alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Graph = TypeVar("Graph")


@dataclass(frozen=True)
class PassResult(Generic[Graph]):
    """What a pass did.

    :param model: the model that was given; passes work in place.
    :param modified: whether the graph was changed.
    :param skipped: (site or layer name, reason) of what the pass could have changed and did not.
    """

    model: Graph
    modified: bool
    skipped: list[tuple[str, str]] = field(default_factory=list)


class Pass(ABC, Generic[Graph]):
    """One rewriting of a graph, in place. A second run changes nothing and says so.

    A subclass numbers its rules in its docstring and implements `call`; `requires` and `ensures` refuse what would
    otherwise go wrong far away from its cause.
    """

    def __call__(self, model: Graph) -> PassResult[Graph]:
        """Run on a model, which is changed in place."""
        self.requires(model)
        result = self.call(model)
        if result.model is not model:
            msg = f"{type(self).__name__} gave back another model; change the one that was given"
            raise TypeError(msg)
        self.ensures(model)
        return result

    def requires(self, model: Graph) -> None:
        """Refuse a model that the pass cannot work on, before anything is changed."""

    @abstractmethod
    def call(self, model: Graph) -> PassResult[Graph]:
        """Change the model."""

    def ensures(self, model: Graph) -> None:
        """Check what the pass promises."""
