"""Models as they are deployed: a prompt is read dense, then every token decodes sparse. Divergence, and questions answered greedily."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from scap_ov.models.agreement import log_softmax
from scap_ov.models.window_runner import WindowRunner

PROMPT, DECODED = 256, 64  # tokens
QUESTIONS = 40
_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas")
_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def runner(model: ov.Model) -> WindowRunner:
    """A model that is asked token by token."""
    return WindowRunner(model, None, _EXACT)


def divergence(model: WindowRunner, reference: WindowRunner, windows: Sequence[np.ndarray]) -> dict[str, float]:
    """KL(reference ‖ model) and perplexity over the tokens that are decoded behind a prompt of PROMPT tokens.

    :param windows: int64 [PROMPT + DECODED] each.
    """
    kl, nll, agree = [], [], []
    for ids in windows:
        own, dense = (log_softmax(m.stepwise(ids, PROMPT)[0].astype(np.float64))[1:-1] for m in (model, reference))
        kl.append((np.exp(dense) * (dense - own)).sum(1).mean())
        nll.append(-own[np.arange(len(own)), ids[PROMPT + 1 :]].mean())
        agree.append((own.argmax(1) == dense.argmax(1)).mean())
    return {"kl": float(np.mean(kl)), "perplexity": float(np.exp(np.mean(nll))), "top1": float(np.mean(agree))}


def exact_matches(model: WindowRunner, encode: Callable[[str], Sequence[int]], decode: Callable[[Sequence[int]], str]) -> float:
    """Share of extraction questions whose answer, decoded greedily, is exactly right: a number among ten that a text holds."""
    right = 0
    for prompt, answer in questions():
        value = model.start(np.asarray(encode(prompt), np.int64))
        tokens = []
        for _ in range(8):
            tokens.append(int(value.argmax()))
            if "." in decode(tokens):
                break
            value = model.step(tokens[-1])
        right += decode(tokens).strip().split(".")[0].strip() == answer
    return right / QUESTIONS


def questions() -> list[tuple[str, str]]:
    """Prompts and answers, the same at every call."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(QUESTIONS):
        codes = dict(
            zip(rng.permutation(_NAMES).tolist(), rng.choice(np.arange(1000, 10000), len(_NAMES), replace=False).tolist(), strict=True)
        )
        told = " ".join(f"The code of {name} is {code}." for name, code in codes.items())
        first, second, wanted = rng.permutation(list(codes))[:3].tolist()
        asked = "".join(f"Question: What is the code of {name}? Answer: {codes[name]}.\n" for name in (first, second))
        made.append((f"{told}\n{asked}Question: What is the code of {wanted}? Answer:", str(codes[wanted])))
    return made


def tokenizer_of(folder: Path) -> Callable[[Sequence[int]], str]:
    """From token ids to text."""
    import openvino_genai

    tokenizer = openvino_genai.Tokenizer(str(folder))
    return lambda tokens: str(tokenizer.decode(list(tokens)))
