"""What a calibration will want of memory and time, told before it starts; and how large its groups of samples may be within a limit."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.drift import REFERENCES
from scap_ov.calibration.drift import TOKENS as DRIFT_TOKENS
from scap_ov.calibration.observe import GROUP_BYTES
from scap_ov.calibration.projection import CHUNK_BYTES
from scap_ov.calibration.sensitivity import GRADIENT_TOKENS
from scap_ov.errors import UncutError, UsageError
from scap_ov.gradients.program import EXACT
from scap_ov.models.opened import OpenedModel, opened_model
from scap_ov.models.runner import samples_of
from scap_ov.models.sample import SampleReader
from scap_ov.runtime import compiling_core
from scap_ov.sites import SiteKind
from scap_ov.statistics.profile import LEAST_BYTES, SHARE

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData
    from scap_ov.sites import Site

_PROCESS = 560_000_000  # Python, OpenVINO and what they compile; with 500 a shape of 0.5B took 1.5 % more than was told
_RESERVE = 1.25  # times what is expected is wanted of --memory: a 1B shape once took that much more (ADR 0046)
_LIVE = 24  # tensors as wide as the widest of a block that its derivative holds at once, measured on 0.5B and 3B shapes
_MAPPED = 0.3  # of the file that is resident at the peak, pages of it and the embedding: 0 to 0.5 on shapes of 0.5B to 8B
_LIVE_OF_EXPERTS = 7  # of every expert: copies of the tokens, gate, up, their product, down, and the derivative of each
_SIZES = {"": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Cost:
    """Of a calibration.

    :param least: bytes of memory with the smallest groups of samples.
    :param group: bytes of hidden states that a group of samples takes.
    :param seconds: roughly; 0 where the model is calibrated as a whole.
    :param whole: why the model is not taken block by block; empty where it is.
    """

    least: int
    group: int
    seconds: float
    whole: str = ""

    @property
    def memory(self) -> int:
        """Bytes of memory at the peak."""
        return self.least + 2 * self.group

    def __str__(self) -> str:
        if self.whole:
            return f"calibrating the model as a whole ({self.whole}): memory of about {self.memory / 1e9:.1f} GB"
        minutes = self.seconds / 60
        told = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute or two"
        return f"calibrating block by block: memory of about {self.memory / 1e9:.1f} GB, and {told} on this machine"


def expected_cost(model: ov.Model | OpenedModel, tokens: int, window: int, memory: int | None = None) -> Cost:
    """What the calibration of a model will take.

    :param tokens: of the calibration data.
    :param window: tokens of its longest sample.
    :param memory: bytes that it shall stay below; None for no limit.
    :raises UsageError: it cannot.
    """
    model = opened_model(model)
    constants = [node for node in model.model.get_ops() if node.get_type_name() == "Constant"]
    weights = sum(math.prod(node.shape) * node.get_element_type().bitwidth // 8 for node in constants)
    try:
        blocks = BlockModel(model)
    except UncutError as e:
        floats = 4 * sum(math.prod(node.shape) for node in constants)
        cost = Cost(_PROCESS + weights + 3 * floats, 0, 0.0, str(e))
    else:
        held = int(_MAPPED * weights) + max(LEAST_BYTES, int(SHARE * weights))
        least = _PROCESS + held + _of_a_block(blocks.sites, window) + 3 * CHUNK_BYTES
        group = min(GROUP_BYTES, 4 * blocks.width * tokens)
        if memory is not None:
            group = int(min(group, max((memory / _RESERVE - least) // 2, 4 * blocks.width * window)))
        cost = Cost(least, group, _seconds(blocks.sites, tokens))
    if memory is not None and cost.memory * _RESERVE > memory:
        way = "export it with logits and one residual stream, or allow more" if cost.whole else "allow more, or give a shorter --window"
        msg = f"this model may take {_RESERVE * cost.memory / 1e9:.1f} GB to calibrate, and --memory allows {memory / 1e9:.1f} GB; {way}"
        raise UsageError(msg)
    return cost


def sizes_of(model: ov.Model, dataset: InferenceData) -> tuple[int, int]:
    """Tokens of a dataset, and of its longest sample."""
    reader, sizes = SampleReader(model), [0]
    for index, item in enumerate(samples_of(dataset)):
        mask = reader.read(item, index).mask
        sizes.append(1 if mask is None else mask.size)
    return sum(sizes), max(sizes)


def parse_bytes(text: str) -> int:
    """`8GB`, `8000MB`, `7.5GiB`: bytes.

    :raises UsageError: it is no size.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?b|)", text.strip().lower())
    size = float(found[1]) * _SIZES[found[2]] if found else 0.0
    if size < 1e6:
        msg = f"--memory is '{text}'; give a size such as 8GB"
        raise UsageError(msg)
    return int(size)


def _of_a_block(sites: tuple[Site, ...], window: int) -> int:
    """The largest block: its weights in f32, and what its derivative holds for one window."""
    by_block: dict[int, int] = {}
    for site in sites:
        if site.kind is not SiteKind.LM_HEAD:
            by_block[site.block] = by_block.get(site.block, 0) + _computed(site)
    widest = max(site.in_features for site in sites)
    experts = max((site.experts for site in sites), default=0)
    return 4 * max(by_block.values(), default=0) + 4 * (_LIVE + _LIVE_OF_EXPERTS * experts) * widest * window


def _computed(site: Site) -> int:
    """Weights of a site that are multiplied: of all routed experts, whichever a token uses."""
    return site.weight_count // site.copies * max(site.experts, 1)


def _seconds(sites: tuple[Site, ...], tokens: int) -> float:
    """From the number of operations, and how many this machine does in a second."""
    heads = sum(site.weight_count for site in sites if site.kind is SiteKind.LM_HEAD)
    blocks = sum(_computed(site) for site in sites) - heads
    used = min(tokens, GRADIENT_TOKENS)
    rows = blocks * (tokens + 3 * used + len(REFERENCES) * min(tokens, DRIFT_TOKENS)) + 3 * heads * used
    return 1.5 * 2 * rows / _operations_a_second()  # the rest: statistics, fits, weights that are made f32


def _operations_a_second() -> float:
    rows, size = 256, 1024
    x, w = (ops.parameter(ov.PartialShape(shape), np.float32) for shape in ([rows, size], [size, size]))
    request = compiling_core().compile_model(ov.Model([ops.matmul(x, w, False, True)], [x, w]), "CPU", EXACT).create_infer_request()
    arrays = [np.ones((rows, size), np.float32), np.ones((size, size), np.float32)]
    request.infer(arrays)
    fastest = math.inf
    for _ in range(8):  # each takes milliseconds: one of them is not interrupted where other programs run
        start = time.perf_counter()
        request.infer(arrays, share_inputs=True)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * rows * size * size / fastest
