"""What each input of a model is, and its value where token ids determine it: masks, positions, an empty past, in the layout asked for.

Names differ between exporters, and so a port is judged by its type and rank first, by its name second, and the axes of a past by the
Concat that it grows in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum

import numpy as np
import openvino as ov

from scap_ov.errors import BadModelError
from scap_ov.models.past_layout import growing_axis, rows_of_one
from scap_ov.models.tensors import HasInputs, Port, port_name, port_names


class Role(Enum):
    """What an input means."""

    TOKENS = "token ids [B, T]"
    EMBEDDINGS = "embeddings [B, T, H]"
    MASK = "1 for tokens, 0 for padding [B, past + T]"
    POSITIONS = "positions [B, T], or [n, B, T]"
    TYPES = "sentence numbers [B, T]"
    STEPS = "positions in the cache [T]"
    BEAM = "which sequence each row continues [B]"
    SWITCH = "whether there is a past [1]"
    PAST = "keys, values or states of earlier tokens"
    OTHER = "something else"


_NAMES = {
    Role.MASK: re.compile(r"mask"),
    Role.STEPS: re.compile(r"cache_position"),
    Role.POSITIONS: re.compile(r"position"),
    Role.TYPES: re.compile(r"token_type|segment_ids"),
    Role.BEAM: re.compile(r"^beam_(?:idx|table)$"),
    Role.SWITCH: re.compile(r"^use_cache"),
    Role.PAST: re.compile(r"past|cache|(?:^|[._])(?:keys?|values?|conv|ssm)(?:_?values?)?[._]?\d"),
}


class Inputs:
    """The inputs of a model.

    :param model: ov.Model or OnnxModel; of a CompiledModel, which shows no graph, a past is taken for [B, heads, T, size].
    """

    def __init__(self, model: HasInputs) -> None:
        self._ports = {port_name(port): port for port in model.inputs}
        self.roles = _roles(self._ports)
        self._shapes = {name: port.get_partial_shape() for name, port in self._ports.items()}
        self._model = model if isinstance(model, ov.Model) else None
        self._time = {name: growing_axis(self._ports[name]) for name in self.named(Role.PAST)}

    def named(self, role: Role) -> list[str]:
        """Names of the inputs of a role."""
        return [name for name, found in self.roles.items() if found is role]

    def canonical(self, name: str) -> str | None:
        """The name by which an input goes here, for any name of its; `input_ids` also means the tokens under another name."""
        found = next((own for own, port in self._ports.items() if name == own or name in port_names(port)), None)
        tokens = self.named(Role.TOKENS)
        return tokens[0] if found is None and name == "input_ids" and tokens else found

    def rank(self, name: str) -> int | None:
        """Number of dimensions of an input; None where it is not known."""
        shape = self._shapes[name]
        return None if shape.rank.is_dynamic else len(shape)

    def vocabulary(self) -> int:
        """How many tokens the model knows: the rows of the table in which its token ids are looked up; 0 where that cannot be told."""
        ports = [self._ports[name] for name in self.named(Role.TOKENS)]
        return max((_looked_up(port) for port in ports if hasattr(port, "get_target_inputs")), default=0)

    def sequence(self, values: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
        """How many sequences of how many tokens a sample holds; None where it is none of tokens or embeddings."""
        for role, rank in ((Role.TOKENS, 2), (Role.EMBEDDINGS, 3)):
            for name in self.named(role):
                if name in values and np.ndim(values[name]) == rank:
                    batch, length = np.shape(values[name])[:2]
                    return batch, length
        return None

    def made(self, batch: int, length: int, *, mask: np.ndarray | None = None, past: int = 0) -> dict[str, np.ndarray]:
        """All inputs that the size of a batch determines.

        :param mask: which tokens are no padding, [B, past + T]; all of them by default. Positions count from the first that is none.
        :param past: tokens that came before; none of them is padding.
        """
        values: dict[str, np.ndarray] = {}
        for name, role in self.roles.items():
            made = self._value(name, role, (batch, length, past), mask)
            if made is not None:
                values[name] = np.ascontiguousarray(made, self._ports[name].get_element_type().to_dtype())
        return values

    def for_tokens(self, input_ids: np.ndarray, *, mask: np.ndarray | None = None, past: int = 0) -> dict[str, np.ndarray]:
        """All inputs of a language model or text encoder for token ids.

        :param input_ids: int64 [B, T].
        :raises BadModelError: an input is none of those that token ids determine.
        """
        tokens = self.named(Role.TOKENS)
        unknown = [name for name, role in self.roles.items() if role in (Role.OTHER, Role.EMBEDDINGS)]
        if unknown or not tokens:
            what = f"input '{unknown[0]}'" if unknown else f"inputs {', '.join(self.roles)}"
            msg = f"the model's {what} cannot be made from token ids; give an nncf.Dataset whose samples hold all inputs"
            raise BadModelError(msg)
        ids = np.ascontiguousarray(input_ids, self._ports[tokens[0]].get_element_type().to_dtype())
        return {**self.made(*input_ids.shape, mask=mask, past=past), tokens[0]: ids}

    def _value(self, name: str, role: Role, size: tuple[int, int, int], mask: np.ndarray | None) -> np.ndarray | None:
        batch, length, past = size
        makers: dict[Role, Callable[[], np.ndarray]] = {
            Role.MASK: lambda: np.ones((batch, past + length)) if mask is None else mask,
            Role.POSITIONS: lambda: self._positions(name, size, mask),
            Role.TYPES: lambda: np.zeros((batch, length)),
            Role.STEPS: lambda: np.arange(past, past + length),
            Role.BEAM: lambda: np.arange(batch),
            Role.SWITCH: lambda: np.zeros([1] * (self.rank(name) or 0), bool),
            Role.PAST: lambda: np.zeros(self._empty(name, batch)),
        }
        return makers[role]() if role in makers else None

    def _positions(self, name: str, size: tuple[int, int, int], mask: np.ndarray | None) -> np.ndarray:
        batch, length, past = size
        row = np.broadcast_to(np.arange(past, past + length), (batch, length))
        if mask is not None and np.ndim(mask) == 2:  # padding on the left shifts them
            row = np.maximum(np.cumsum(np.asarray(mask).astype(bool), axis=1) - 1, 0)[:, -length:]
        if self.rank(name) == 1:
            return row[0]
        if self.rank(name) == 3:  # one row each for time, height and width: the same for text
            first = self._shapes[name][0]
            return np.broadcast_to(row, (3 if first.is_dynamic else first.get_length(), batch, length))
        return row

    def _empty(self, name: str, batch: int) -> list[int]:
        """The shape of a past without tokens; a state of a fixed shape keeps it."""
        shape, time = self._shapes[name], self._time[name]
        rows = next((axis for axis, dim in enumerate(shape) if dim.is_dynamic and axis != time), None)
        tokens = self.named(Role.TOKENS)
        if len(shape) == 3 and rows == 0 and self._model is not None and tokens:  # batch and heads in one axis
            batch *= rows_of_one(self._model, tokens[0], name)
        sizes = [0 if dim.is_dynamic else dim.get_length() for dim in shape]
        return [0 if axis == time else batch if axis == rows else size for axis, size in enumerate(sizes)]


def _roles(ports: Mapping[str, Port]) -> dict[str, Role]:
    roles = {name: _role(name, port) for name, port in ports.items()}
    other = [name for name, role in roles.items() if role is Role.OTHER]
    tokens = next(_tokens(ports, other), None)
    if tokens is not None:
        roles[tokens] = Role.TOKENS
        return roles
    real = [name for name in other if _is_real(ports[name], 3)]
    embeddings = next((name for name in real if "embed" in name.lower()), real[0] if len(real) == 1 else None)
    if embeddings is not None:
        roles[embeddings] = Role.EMBEDDINGS
    return roles


def _role(name: str, port: Port) -> Role:
    plain, real, rank = name.partition(":")[0].lower(), port.get_element_type().is_real(), _rank(port)
    found = next((role for role, pattern in _NAMES.items() if pattern.search(plain)), Role.OTHER)
    fits = {
        Role.MASK: rank in (None, 2),
        Role.STEPS: rank in (None, 1),
        Role.POSITIONS: not real,
        Role.PAST: real and (rank or 0) >= 3,
    }
    return found if fits.get(found, True) else Role.OTHER


def _tokens(ports: Mapping[str, Port], names: list[str]) -> Iterator[str]:
    """Candidates, the best first."""
    whole = [name for name in names if not ports[name].get_element_type().is_real() and _rank(ports[name]) in (None, 2)]
    for wanted in ("input_ids", "decoder_input_ids"):
        yield from (name for name in whole if wanted in port_names(ports[name]) or name.partition(":")[0] == wanted)
    yield from (name for name in whole if re.search(r"ids\b|_ids|tokens?\b", name.partition(":")[0].lower()))
    if len(whole) == 1:
        yield whole[0]


def _rank(port: Port) -> int | None:
    shape = port.get_partial_shape()
    return None if shape.rank.is_dynamic else len(shape)


def _is_real(port: Port, rank: int) -> bool:
    return bool(port.get_element_type().is_real()) and _rank(port) == rank


def _looked_up(value: ov.Output) -> int:
    for target in value.get_target_inputs():
        node = target.get_node()
        kind = node.get_type_name()
        if kind == "Convert":
            return _looked_up(node.output(0))
        if kind == "Gather" and target.get_index() == 1:
            shape = node.get_input_partial_shape(0)
            if shape.rank.is_static and len(shape) == 2 and shape[0].is_static:
                return int(shape[0].get_length())
    return 0
