"""The gradient of the log-likelihood at the input of every site, block by block or in one piece.

Block by block: one forward pass keeps the hidden state at every block's border; then, from the last block to the first, that block is run
anew together with its derivative, over all windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.borders import Borders
from scap_ov.calibration.probe import Reference
from scap_ov.calibration.projection import HeadGradient, sampled_gradient
from scap_ov.calibration.samples import counted
from scap_ov.progress import Progress

if TYPE_CHECKING:
    from scap_ov.calibration.block_model import BlockModel
    from scap_ov.calibration.flow import Flow
    from scap_ov.calibration.gradient_model import GradientModel
    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.sites import Site

Resumed = tuple[int, "Sequence[np.ndarray]"]
Keep = Callable[[int, "Sequence[np.ndarray]"], None]
Take = Callable[[str, np.ndarray, np.ndarray], None]


def block_gradients(
    model: BlockModel, windows: Sequence[CalibrationWindow], take: Take, *, resumed: Resumed | None = None, keep: Keep | None = None,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Give every site's input and gradient to `take`, blocks last to first.

    :param take: called with the site's name, its input and the gradient there, float32 [R, K]: the rows that count.
    :param resumed: where an earlier run stopped: the blocks that are left, and the gradients at the border behind them.
    :param keep: called with the same after the output projection and after every block.
    :param progress: called with (steps done, steps); a step is a block one way.
    :raises BadModelError: an operation has no gradient rule.
    """
    model.check_gradients()
    left = model.blocks if resumed is None else resumed[0]
    steps, flows, borders = left + model.blocks + 1, model.start(windows), Borders()
    for number in range(left):
        borders.push([flow.hidden for flow in flows])
        if number < left - 1 or resumed is None:  # the last block that is left is run again with its derivative
            model.advance(number, flows)
        if progress:
            progress(number + 1, steps)
    gradients = _taken(sampled_gradient(model.head, flows), flows, take) if resumed is None else resumed[1]
    if keep and resumed is None:
        keep(left, gradients)
    for number in reversed(range(left)):
        for flow, hidden in zip(flows, borders.pop(), strict=True):
            flow.hidden = hidden
        gradients = _block(model, number, flows, gradients, take)
        if keep and number:
            keep(number, gradients)
        if progress:
            progress(steps - number, steps)


def _taken(head: list[HeadGradient], flows: Sequence[Flow], take: Take) -> list[np.ndarray]:
    for flow, one in zip(flows, head, strict=True):
        for name, (x, g) in one.inputs.items():
            take(name, *_counted(x, g, flow.window.pruned))
    return [one.entry for one in head]


def _block(model: BlockModel, number: int, flows: Sequence[Flow], gradients: Sequence[np.ndarray], take: Take) -> list[np.ndarray]:
    """One block backwards: the gradients at the border before it."""
    before = []
    for flow, gradient in zip(flows, gradients, strict=True):
        entry, inputs = model.piecewise.backward(number, model.values(number, flow), gradient)
        before.append(entry if entry is not None else np.zeros(0, np.float32))
        for name, (x, g) in inputs.items():
            take(name, *_counted(x, g, flow.window.pruned))
    return before


def whole_gradients(
    probe: GradientModel, windows: Sequence[CalibrationWindow], sites: Sequence[Site], take: Take, progress: Progress | None = None
) -> None:
    """The same from one compiled derivative of the whole model: window by window, all sites of each.

    :param probe: built with `inputs`.
    """
    for done, piece in enumerate(windows):
        dense = probe.reference_of(piece.inputs)
        labels = _sample(dense.values, piece.digest)
        labels[~counted(piece.pruned, len(labels))] = 0  # a row that is not pruned is not counted
        probe.run(piece.inputs, probe.dense(), Reference(labels, dense.offset))
        for site in sites:
            take(site.name, *_counted(probe.output(site.name), probe.gradient(site.name), piece.pruned))
        if progress:
            progress(done + 1, len(windows))


def _counted(x: np.ndarray, g: np.ndarray, pruned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = counted(pruned, x.shape[:-1])
    x, g = (v.reshape(-1, v.shape[-1]) for v in (x, g))
    return x[keep], g[keep]


def _sample(probability: np.ndarray, seed: int) -> np.ndarray:
    """One token of each row, drawn by the row's probabilities, as one-hot rows float32 [R, V]; the same bits on every machine."""
    raw = np.random.PCG64(seed).random_raw(len(probability))
    uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    total = np.cumsum(probability, axis=1, dtype=np.float64)
    index = (total < uniform[:, None] * total[:, -1:]).sum(1)
    hot = np.zeros_like(probability)
    hot[np.arange(len(hot)), np.minimum(index, probability.shape[1] - 1)] = 1
    return hot
