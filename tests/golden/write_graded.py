"""Write the folders graded, levels and fewer; not to be run again.

graded, by scap_ov of revision 1c79d5d: version 1 of both ops and version 2 of plans. levels, by revision 41ac8b1: versions 2 and 3.
fewer, by revision 250b273: version 4 of plans, in which a token uses one expert of two.
python tests/golden/write_graded.py FOLDER [LEVEL ... | fewer]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import openvino as ov

sys.path.insert(0, str(Path(__file__).parents[1]))

from decode_steps import EXACT, run_steps

import scap_ov
from scap_ov.models.dataset import token_dataset
from scap_ov.sample_models.random_llm import Shape, build
from scap_ov.storage.model_folder import write_model_folder

SHAPE = Shape("golden", layers=1, hidden=32, ffn=32, heads=2, kv_heads=1, vocabulary=64, experts=3, used=2)


def main(folder: Path, levels: tuple[float, ...], fewer: float = 0.0) -> None:
    """An int8 decoder with routed experts, read by grades; its logits at the highest level."""
    folder.mkdir(parents=True)
    core = ov.Core()
    scap_ov.register(core)
    rng = np.random.default_rng(8)
    stock = build(SHAPE, "i8", SHAPE.layers)
    profile = scap_ov.calibrate(stock, token_dataset([rng.integers(0, 64, 16).tolist() for _ in range(4)], stock))
    options = {"levels": levels} if levels else {"fewer_experts": fewer} if fewer else {}
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(0.5, replace="always", **options))
    plan.save(folder / "plan.safetensors")
    pruned = scap_ov.apply(stock, plan)
    write_model_folder(pruned, None, folder / "decoder")
    ids = rng.integers(0, 64, (1, 9))
    np.savez_compressed(folder / "expected.npz", ids=ids, logits=run_steps(core.compile_model(pruned, "CPU", EXACT), ids))


if __name__ == "__main__":
    fewer = sys.argv[2:] == ["fewer"]
    main(Path(sys.argv[1]), () if fewer else tuple(map(float, sys.argv[2:])), 0.5 if fewer else 0.0)
