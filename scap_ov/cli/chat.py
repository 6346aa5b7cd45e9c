"""Ask a model folder the demo's questions through openvino_genai.LLMPipeline, streamed, and note the speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scap_ov.models.genai import generate_streamed, open_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SMOKE_QUESTION = ("What is the capital of France?", "Paris")  # the question, and the word that its answer must hold
QUESTIONS = (SMOKE_QUESTION[0], "Explain in two sentences why the sky is blue.", "Write a Python function that adds two numbers.")


@dataclass(frozen=True)
class Answer:
    """One streamed answer.

    :param tokens_per_s: decode speed as openvino-genai measured it, the prompt not counted.
    """

    question: str
    text: str
    tokens_per_s: float


def ask(
    folder: Path,
    questions: Sequence[str],
    *,
    library: str | None = None,
    max_new_tokens: int = 64,
    write: Callable[[str], None] | None = None,
    **properties: Any,
) -> list[Answer]:
    """Put each question, in the model's chat template, greedily, in a conversation of its own.

    :param library: path of the extension library, when the model needs it.
    :param write: takes the text piece by piece as it is made.
    :param properties: of the pipeline, such as ATTENTION_BACKEND="SDPA".
    :raises MissingDependencyError: openvino-genai is not installed.
    :raises BadModelError: openvino-genai refuses the folder.
    """
    pipeline = open_pipeline(folder, library=library, **properties)
    config = pipeline.get_generation_config()
    config.max_new_tokens = max_new_tokens
    config.do_sample = False
    config.apply_chat_template = True
    answers = []
    for question in questions:
        pieces: list[str] = []

        def keep(piece: str, pieces: list[str] = pieces) -> None:
            pieces.append(piece)
            if write:
                write(piece)

        result = generate_streamed(pipeline, question, config, keep)
        answers.append(Answer(question, "".join(pieces), float(result.perf_metrics.get_throughput().mean)))
        if write:
            write("\n")
    return answers
