"""Names and inputs of the functions that insert_sparsity puts into an ONNX model. Used by: portable_pattern, openvino_functions.

Needs no package, so that OpenVINO can be taught the functions where onnx_ir is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN, DOMAIN_VERSION = "scap_ov", 1
PREFIX = "scap_ov."  # of every name that the pattern brings along
_SLOTS = ("x", "threshold", "center", "replacement", "max_sparse_rows")


@dataclass(frozen=True)
class Variant:
    """Which nodes a pattern has; each variant is a function of its own.

    :param rows: `decode`, `all` (the first position of axis 1 is exempt, x has rank 3), or `every`.
    :param centered: c is not 0.
    :param half: x is f16 or bf16, and is compared in f32.
    """

    rows: str
    centered: bool
    half: bool

    @property
    def function(self) -> str:
        """Name of the function, such as `PruneDecodeCentered`."""
        return f"Prune{self.rows.capitalize()}{'Centered' if self.centered else ''}{'Half' if self.half else ''}"

    @property
    def slots(self) -> tuple[str, ...]:
        """The function's inputs by name, in order."""
        without = {"decode": set[str]()}.get(self.rows, {"max_sparse_rows"}) | (set() if self.centered else {"center"})
        return tuple(slot for slot in _SLOTS if slot not in without)


VARIANTS = tuple(
    Variant(rows, centered, half) for rows in ("decode", "all", "every") for centered in (False, True) for half in (False, True)
)
