"""Models as they are deployed: a prompt is read dense, then every token decodes sparse. Divergence, questions answered greedily, speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import openvino as ov

from scap_ov.models.agreement import log_softmax
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.models.window_runner import WindowRunner
from scap_ov.models.windows import text_windows
from scap_ov.storage.model_folder import read_model

PROMPT, DECODED = 256, 64  # tokens
QUESTIONS = 40
PEOPLE = 8  # whose ages a question lists; SmolLM2-135M is right nine times in ten. Sums of two digits and questions in words it gets wrong
SPEED_ROUNDS, SPEED_TOKENS = 7, 32  # turns of each model, and tokens that are decoded in each
_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas")
_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


class Deployed:
    """Measures models against the dense f16 model behind prompts.

    :param reference: folder of the f16 model, with its tokenizer.
    :param text: to measure on.
    :param tokens: of it.
    """

    def __init__(self, reference: Path, text: str, tokens: int) -> None:
        import openvino_genai

        windows = text_windows(text, reference, window=PROMPT + DECODED, max_tokens=tokens)
        self._windows = [ids for ids in windows if len(ids) == PROMPT + DECODED]
        self._encode, tokenizer = load_tokenizer(reference), openvino_genai.Tokenizer(str(reference))
        self._decode = lambda ids: str(tokenizer.decode(list(ids)))
        dense = runner(read_model(reference))
        self._dense = [decoded(dense, ids) for ids in self._windows]

    def losses(self, model: ov.Model) -> dict[str, object]:
        """KL(dense f16 ‖ model), perplexity and agreement over the tokens decoded behind PROMPT others; the share of right answers."""
        own = runner(model)
        kl, nll, agree = [], [], []
        for ids, dense in zip(self._windows, self._dense, strict=True):
            found = decoded(own, ids)
            kl.append((np.exp(dense) * (dense - found)).sum(1).mean())
            nll.append(-found[np.arange(len(found)), ids[PROMPT + 1 :]].mean())
            agree.append((found.argmax(1) == dense.argmax(1)).mean())
        found = {"kl": float(np.mean(kl)), "perplexity": float(np.exp(np.mean(nll))), "top1": float(np.mean(agree))}
        return {"deployed": found, "exact_matches": exact_matches(own, self._encode, self._decode)}


def runner(model: ov.Model) -> WindowRunner:
    """A model that is asked token by token."""
    return WindowRunner(model, None, _EXACT)


def decoded(model: WindowRunner, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities of what follows each token that is decoded behind the prompt, float [DECODED - 1, V].

    :param ids: int64 [PROMPT + DECODED].
    """
    return log_softmax(model.stepwise(ids, PROMPT)[0])[1:-1]


def exact_matches(model: WindowRunner, encode: Callable[[str], Sequence[int]], decode: Callable[[Sequence[int]], str]) -> float:
    """Share of look-ups whose answer, decoded greedily, is exactly right: a number that a list in the prompt holds."""
    right = 0
    for prompt, answer in questions():
        value = model.start(np.asarray(encode(prompt), np.int64))
        tokens: list[int] = []
        for _ in range(5):
            tokens.append(int(value.argmax()))
            if "\n" in decode(tokens):
                break
            value = model.step(tokens[-1])
        right += decode(tokens).strip().split("\n")[0].strip() == answer
    return right / QUESTIONS


def questions() -> list[tuple[str, str]]:
    """Prompts and answers, the same at every call: a list of ages, and the list once more in another order, whose last age is missing."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(QUESTIONS):
        names = rng.permutation(_NAMES)[:PEOPLE].tolist()
        ages = rng.choice(np.arange(11, 99), PEOPLE, replace=False).tolist()
        lines = [f"{name}: {age}\n" for name, age in zip(names, ages, strict=True)]
        wanted = int(rng.integers(PEOPLE))
        again = [lines[i] for i in rng.permutation(PEOPLE) if i != wanted]
        made.append(("".join([*lines, "\n", *again, f"{names[wanted]}:"]), str(ages[wanted])))
    return made


def speedup(model: Path, stock: Path) -> float:
    """Decode speed as a multiple of another model's: the median of the ratios of alternating turns, in one process, f32 hint for both.

    :param model: .xml of a model.
    """
    both = [WindowRunner(read_model(path), None, {"INFERENCE_PRECISION_HINT": "f32"}) for path in (model, stock)]
    prompt = np.arange(100, 164)
    ratios = []
    for _ in range(SPEED_ROUNDS):
        seconds = []
        for one in both:
            one.start(prompt)
            one.step(5)
            started = time.perf_counter()
            for token in range(SPEED_TOKENS):
                one.step(100 + token)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[1] / seconds[0])
    return median(ratios)
