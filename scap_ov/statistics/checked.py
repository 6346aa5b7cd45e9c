"""Whether the arrays of a profile have the shapes that their readers count on: a damaged file is told of, not tripped over."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scap_ov.statistics.observers.histogram import BINS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from scap_ov.sites import Site

_R, _ANY = "R", "any"  # the rows that are kept; any number
_K = "K"
_SHAPES: dict[str, tuple[int | str, ...]] = {
    "rows": (_R, _K), "priority": (_R,), "histogram": (BINS,), "gate_histogram": (BINS,), "sum": (2, _K), "sum_of_squares": (2, _K),
    "minimum": (_K,), "maximum": (_K,), "column_norm": (_K,), "column_norm_l1": (_K,), "sketch": (_ANY, _K), "missed_norm": (_K,),
    "expert_tokens": (_ANY,),
}  # fmt: skip
_COUNTS = ("histogram", "gate_histogram", "expert_tokens")
ERRORS = 10  # levels at which a table holds the site's own error


Arrays: TypeAlias = "Mapping[str, np.ndarray]"


def check_statistics(sites: Iterable[Site], tensors: Mapping[str, Arrays]) -> None:
    """:raises ValueError: a tensor has another shape, no numbers, NaN or infinity, or negative counts; says which."""
    for site in sites:
        own = tensors[site.name]
        sizes = {_K: site.in_features, _R: len(own["priority"])}
        for name, value in own.items():
            wanted = _SHAPES.get(name)
            if wanted is None:
                continue
            right = value.ndim == len(wanted) and all(
                w == _ANY or n == sizes.get(str(w), w) for n, w in zip(value.shape, wanted, strict=True)
            )
            if not right or value.dtype.kind not in "fiu":
                msg = f"{site.name}/{name} is {value.dtype}{list(value.shape)}"
                raise ValueError(msg)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                msg = f"{site.name}/{name} holds NaN or infinity"
                raise ValueError(msg)
            if name in _COUNTS and value.min(initial=0) < 0:
                msg = f"{site.name}/{name} holds the negative count {value.min()}"
                raise ValueError(msg)


def check_tables(names: Collection[str], tables: Mapping[str, Arrays]) -> None:
    """:raises ValueError: a table of sensitivity is of no site, or its arrays do not belong together; says which."""
    for site, table in tables.items():
        if site not in names:
            msg = f"it holds the sensitivity of {site}, which is none of its sites"
            raise ValueError(msg)
        for name, value in table.items():
            kind = name.rpartition("_")[0]
            levels = table.get(f"{kind}_level" if kind == "graded" else "level", value)
            size = ERRORS if name.endswith("error") else len(levels) if name.endswith(("level", "loss")) and kind != "drift" else value.size
            if value.shape != (size,) or value.dtype.kind != "f" or not np.isfinite(value).all():
                msg = f"{site}/sensitivity/{name} is {value.dtype}{list(value.shape)}, or holds NaN"
                raise ValueError(msg)
