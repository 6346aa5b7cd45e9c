"""Where a decode step goes: the CPU plugin's counters by kind of op, stock and pruned in turn, in one process.

    python benchmarks/step_profile.py stock sparse --steps 30 --json step.json

Steps of one token (--rows: of several sequences at once) from an empty cache on, both with INFERENCE_PRECISION_HINT=f32, through plain
OpenVINO (stateful attention). Ops of ours carry the names of their site and layers, which tells stock's products apart too. The plugin
cuts the time of every node to whole µs, so half a µs is added for each; what no node took is the plugin's way from node to node.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import openvino as ov
from machine import machine

from scap_ov.custom_ops import BLOCK_OP_NAME
from scap_ov.passes.openvino.sparse_op import names_of
from scap_ov.passes.openvino.split_blocks import SplitBlocks
from scap_ov.runtime import compiling_core, register
from scap_ov.storage.model_files import model_file

TURN = 10  # steps of one side before the other's, so that code and threads are warm as in decoding; the first turn is not counted


class Side:
    """One model: its request, and the plugin's counters summed up by kind."""

    def __init__(self, folder: str, rows: int) -> None:
        core = compiling_core()
        register(core)
        model = core.read_model(model_file(folder))
        self.layers = layers_of(model)
        self._names = {port.any_name for port in model.inputs}
        properties = {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._request = core.compile_model(model, "CPU", properties).create_infer_request()
        self._rows, self._done, self._skipped = rows, 0, dict[str, float]()
        self.milliseconds: list[float] = []

    def step(self) -> None:
        """One token more of every sequence."""
        rng, rows = np.random.default_rng(self._done), self._rows
        feeds = {
            "input_ids": rng.integers(10, 1000, (rows, 1)),
            "attention_mask": np.ones((rows, self._done + 1), np.int64),
            "position_ids": np.full((rows, 1), self._done),
            "beam_idx": np.arange(rows, dtype=np.int32),
        }
        start = time.perf_counter()
        self._request.infer({name: value for name, value in feeds.items() if name in self._names})
        self.milliseconds.append((time.perf_counter() - start) * 1e3)
        self._done += 1

    def begin(self) -> None:
        """Count from here on: what was before, with pages and code that were cold, is taken off."""
        self._skipped = self._spent()
        self.milliseconds.clear()

    def _spent(self) -> dict[str, float]:
        """Milliseconds in each node so far; the plugin gives the mean of all steps."""
        return {node.node_name: node.real_time.total_seconds() * 1e3 * self._done for node in self._request.profiling_info}

    def kinds(self, layers: dict[str, str]) -> dict[str, dict[str, float]]:
        """Kind -> nodes, and milliseconds of a step: the kind of site of a product, of other nodes the plugin's type."""
        nodes: Counter[str] = Counter()
        spent: Counter[str] = Counter()
        now, steps = self._spent(), len(self.milliseconds)
        for node in self._request.profiling_info:
            if now[node.node_name]:
                kind = layers.get(node.node_name, node.node_type)
                nodes[kind] += 1
                spent[kind] += (now[node.node_name] - self._skipped[node.node_name]) / steps + 0.5e-3
        return {kind: {"nodes": nodes[kind], "ms": spent[kind]} for kind, _ in spent.most_common()}


def layers_of(model: ov.Model) -> dict[str, str]:
    """Name of an op of ours, or of a layer in it -> what a row of the table says: nothing for a model without."""
    found = {op.get_friendly_name(): "fused blocks" for op in model.get_ops() if op.get_type_name() == BLOCK_OP_NAME}
    for op in SplitBlocks()(model.clone()).model.get_ops():
        if op.get_type_info().version_id == "scap_ov":
            site, layers = names_of(op)
            found |= dict.fromkeys((op.get_friendly_name(), *layers), f"products: {site.rpartition('.')[2]}")
    return found


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("sparse")
    parser.add_argument("--rows", type=int, default=1, help="sequences that step together")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json")
    args = parser.parse_args()
    sides = {"stock": Side(args.stock, args.rows), "sparse": Side(args.sparse, args.rows)}
    for turn in range(1 + -(-args.steps // TURN)):
        for side in sides.values() if turn % 2 else reversed(sides.values()):
            if turn == 1:
                side.begin()
            for _ in range(TURN):
                side.step()
    step = {name: mean(side.milliseconds) for name, side in sides.items()}
    kinds = {name: side.kinds(sides["sparse"].layers) for name, side in sides.items()}
    _print(kinds, step)
    if args.json:
        text = json.dumps({"machine": machine(), "rows": args.rows, "step_ms": step, "kinds": kinds}, indent=2)
        Path(args.json).write_text(text + "\n", encoding="utf-8")


def _print(kinds: dict[str, Any], step: dict[str, float]) -> None:
    print("| | stock: nodes | ms | scap_ov: nodes | ms |\n|---|--:|--:|--:|--:|")
    for kind in sorted(set(kinds["stock"]) | set(kinds["sparse"]), key=lambda k: -max(_ms(side, k) for side in kinds.values())):
        cells = [f"{side[kind]['nodes']} | {side[kind]['ms']:.2f}" if kind in side else " | " for side in kinds.values()]
        print(f"| {kind} | {' | '.join(cells)} |")
    outside = {name: step[name] - sum(entry["ms"] for entry in side.values()) for name, side in kinds.items()}
    print(f"| between nodes | | {outside['stock']:.2f} | | {outside['sparse']:.2f} |")
    print(f"| the step, mean | | {step['stock']:.2f} | | {step['sparse']:.2f} |")
    print(f"\n{step['stock'] / step['sparse']:.2f} times stock's speed")


def _ms(side: dict[str, Any], kind: str) -> float:
    return float(side.get(kind, {"ms": 0.0})["ms"])


if __name__ == "__main__":
    main()
