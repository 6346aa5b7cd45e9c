"""Names and inputs of the functions that insert_sparsity puts into an ONNX model.

Needs no package, so that OpenVINO can be taught the functions where onnx_ir is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN, DOMAIN_VERSION = "scap_ov", 1
PREFIX = "scap_ov."  # of every name that the pattern brings along
_SLOTS = ("x", "threshold", "center", "replacement", "max_sparse_rows", "steepness", "whole_threshold")


@dataclass(frozen=True)
class Variant:
    """Which nodes a pattern has; each variant is a function of its own.

    :param rows: `decode`, `all` (the first position of axis 1 is exempt, x has rank 3), `turned` (that of axis 0), or `every`.
    :param centered: c is not 0.
    :param half: x is f16 or bf16, and is compared in f32.
    :param ramp: kept entries near their threshold are moved towards c.
    :param graded: a second output gives what is read by half, x − c there and 0 elsewhere.
    """

    rows: str
    centered: bool
    half: bool
    ramp: bool = False
    graded: bool = False

    @property
    def exempts(self) -> bool:
        """Whether the first position of a sequence is exempt."""
        return self.rows in ("all", "turned")

    @property
    def function(self) -> str:
        """Name of the function, such as `PruneDecodeCentered`."""
        words = {"Centered": self.centered, "Half": self.half, "Ramp": self.ramp, "Graded": self.graded}
        return f"Prune{self.rows.capitalize()}{''.join(word for word, there in words.items() if there)}"

    @property
    def slots(self) -> tuple[str, ...]:
        """The function's inputs by name, in order."""
        needed = {"center": self.centered, "max_sparse_rows": self.rows == "decode", "steepness": self.ramp, "whole_threshold": self.graded}
        return tuple(slot for slot in _SLOTS if needed.get(slot, True))


VARIANTS = tuple(
    Variant(rows, centered, half, ramp, graded)
    for rows in ("decode", "all", "turned", "every")
    for centered in (False, True)
    for half in (False, True)
    for ramp in (False, True)
    for graded in (False, True)
)
