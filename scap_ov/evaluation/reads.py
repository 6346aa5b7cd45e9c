"""What tokens read of the weights, measured on text: shares of channels dropped, read by half and read whole, and of bytes not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scap_ov.evaluation.result import PositionSparsity, SiteSparsity
from scap_ov.sites import Site

MOST_POSITIONS = 32  # a plot shows no more, and a window may have thousands


@dataclass(frozen=True)
class Reads:
    """Measured shares of the pruned sites, token by token.

    :param sites: those that count in the model-wide shares.
    :param names: of the sites that were measured, in order.
    :param dropped: float [S, T].
    :param half: float [S, T].
    """

    sites: Sequence[Site]
    names: Sequence[str]
    dropped: np.ndarray
    half: np.ndarray

    def unread_of(self) -> dict[str, float]:
        """Mean share of the bytes that each measured site leaves unread."""
        return dict(zip(self.names, _means(self.dropped + self.half / 2), strict=True))

    def unread(self) -> np.ndarray:
        """Share of all weight bytes that each token leaves unread, float [T]; nothing where no site was measured."""
        return self._over_sites(self.dropped + self.half / 2, {s.name: s.weight_bytes for s in self.sites})

    def channels(self) -> tuple[float, float, float]:
        """Shares of all channels that are dropped, read by half and read whole, weighted by weight count."""
        counts = {s.name: float(s.weight_count) for s in self.sites}
        dropped, half = (self._over_sites(share, counts) for share in (self.dropped, self.half))
        if not dropped.size:
            return 0.0, 0.0, 1.0
        return float(dropped.mean()), float(half.mean()), float(1 - dropped.mean() - half.mean())

    def by_position(self, positions: np.ndarray) -> tuple[PositionSparsity, ...]:
        """Share of the bytes that are not read over the place in the window.

        :param positions: int [T], of each measured token.
        """
        unread = self.unread()
        if not unread.size:
            return ()
        width = max(1, -(-(int(positions.max()) - int(positions.min()) + 1) // MOST_POSITIONS))
        steps = (positions - positions.min()) // width
        found = []
        for step in np.unique(steps):
            here = unread[steps == step]
            low, high = (float(value) for value in np.quantile(here, (0.1, 0.9)))
            found.append(PositionSparsity(int(positions.min() + step * width), float(here.mean()), low, high))
        return tuple(found)

    def by_site(self) -> tuple[SiteSparsity, ...]:
        """The figures of each measured site."""
        unread = self.dropped + self.half / 2
        spread = unread.std(axis=1) if unread.size else np.zeros(len(unread))
        columns = (_means(unread), [float(v) for v in spread], _means(self.dropped), _means(self.half))
        return tuple(SiteSparsity(*row) for row in zip(self.names, *columns, strict=True))

    def _over_sites(self, share: np.ndarray, weights: dict[str, float]) -> np.ndarray:
        total = sum(weights.values())
        if not self.names or not total:
            return np.zeros(0)
        return np.array([weights[name] for name in self.names], np.float64) @ share / total


def _means(share: np.ndarray) -> list[float]:
    return [float(row.mean()) if row.size else 0.0 for row in share]
