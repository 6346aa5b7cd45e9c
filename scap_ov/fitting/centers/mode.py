"""The mode: the peak of a Gaussian kernel density estimate, as in SCAP's paper (its choice for MPT)."""

from __future__ import annotations

import numpy as np

SUBSAMPLES = (100_000, 200_000, 300_000)  # one candidate from each strided subsample, as the paper's code has it
GRID = 2000
BANDWIDTH = 0.5  # times Scott's rule
_TAIL = 0.001  # share at each end that is left out of the grid: one massive activation would stretch it over the whole range


def mode_center(rows: np.ndarray) -> tuple[float, ...]:
    """The candidate peaks of three subsamples; the caller takes the one with the least output error.

    :param rows: float32 [R, K].
    """
    values = rows.reshape(-1)
    peaks = []
    for size in SUBSAMPLES:
        stride = max(values.size // size, 1)
        peaks.append(density_peak(values[::stride][:size]))
        if values.size <= size:
            break
    return tuple(dict.fromkeys(peaks))


def density_peak(values: np.ndarray) -> float:
    """Where the density of the values is highest.

    Values are counted into GRID bins and the counts smoothed by the kernel: the same curve as summing a Gaussian for each value,
    within the width of a bin.

    :param values: float32 [n].
    """
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL]).astype(np.float64)
    if high <= low:
        return float(np.median(values))
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    inner = values[(values >= low) & (values <= high)].astype(np.float64)
    spread = min(inner.std(), (three_quarters - quarter) / 1.349) or inner.std()
    width = (high - low) / GRID
    sigma = max(BANDWIDTH * spread * inner.size ** (-0.2) / width, 1e-3)
    counts = np.histogram(inner, bins=GRID, range=(low, high))[0]
    reach = min(int(np.ceil(5 * sigma)), GRID)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    density = np.convolve(counts, kernel)[reach : reach + GRID]
    return float(low + (int(density.argmax()) + 0.5) * width)
