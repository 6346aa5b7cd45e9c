"""Write docs/reference.md: the commands from their parsers, the JSON from the classes of results.

    python docs/write_reference.py

tests/test_docs.py fails where the page is not what this writes.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from scap_ov.benchmarking.decode import BenchmarkResult, ModelSpeed
from scap_ov.benchmarking.paired import Spread
from scap_ov.cli.main import COMMANDS
from scap_ov.evaluation.result import EvaluationResult, PositionSparsity, SiteSparsity
from scap_ov.evaluation.similarity import SimilarityResult
from scap_ov.evaluation.tasks import TaskResult

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Commands and their JSON

Written by `python docs/write_reference.py` from the parsers and the classes of results; do not edit.

Every command takes `--help` and `--debug` (the traceback of an error).
Exit codes: 0 done; 1 something failed, or `validate` or `doctor` found
something wrong; 2 the command line, or a value in it, is not allowed; 130 interrupted. An error is one line on standard error.
With `--json -` standard output holds the JSON and nothing else.
"""
# What is no class: command -> key -> meaning
FIGURES = {
    "apply": {"output": "the folder or file that was written", "form": "`lowered`, `portable` or `function`",
              "expected_sparsity": "share of the block weights that a token does not read, as calibration predicts it",
              "sites": "of each site its description, planned sparsity, state, and the reason of its state",
              "max_loss, compensation": "what was found, where it was asked for"},
    "build-extension": {"library": "path of the library"},
    "bundle": {"bundle": "the archive", "bytes": "its size", "unpacked_bytes": "of its files", "files": "`name` and `bytes` of each",
               "libraries": "`name`, `bytes`, `package`, `version` of each that the model needs, copied or not",
               "system": "the oldest glibc (`GLIBC`) and libstdc++ (`GLIBCXX`) that will do"},
    "calibrate": {"profile": "the file", "sites": "how many", "fingerprint": "of the model", "samples, tokens": "that were observed"},
    "compare": {"points": "for each method and target, and each dense model: `method`, `target_sparsity`, and the fields of `eval`"},
    "completion": {"shell": "as given", "script": "the script"},
    "demo": {"export": "`genai` or `optimum`", "target_sparsity, kept_sparsity": "asked for, and the largest that keeps the answer",
             "answers": "of `stock` and `sparse`", "eval, bench": "as these commands give them", "report": "the page"},
    "doctor": {"healthy": "whether everything that is needed works", "findings": "`what`, `found`, `advice`, `ok`, `needed`"},
    "generate": {"text": "what was written", "tokens": "how many", "decode_tokens_per_s": "speed", "ttft_s": "seconds to the first token"},
    "inspect": {"model": "as given", "form, sites, expected_sparsity, notes": "as `apply` notes them in the model"},
    "merge": {"profile": "the file", "merged": "number of profiles", "samples, tokens": "in all"},
    "report": {"report": "the page", "pictures": "the folder of the PNG files", "eval, bench": "the figures that it shows"},
    "validate": {"a, b, a_kind, b_kind": "the models and what they are", "runs": "inputs that were compared",
                 "tolerance, outliers": "as given",
                 "passed": "whether they agree", "outputs": "of each output its differences, and KL, agreement or cosine"},
}  # fmt: skip
CLASSES = {
    "eval": [EvaluationResult, SiteSparsity, PositionSparsity, TaskResult, SimilarityResult],
    "bench": [BenchmarkResult, ModelSpeed, Spread],
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for name in COMMANDS for line in command(name))])


def command(name: str) -> Iterator[str]:
    """The section of one command."""
    module = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(prog=f"scap-ov {name}")
    module.add_arguments(parser)
    yield f"## scap-ov {name}\n\n{str(module.__doc__).partition(chr(10))[0]}\n"
    rows = [row for action in parser._actions if (row := option(action))]  # noqa: SLF001 - argparse has no other list of them
    if rows:
        yield from ("| argument | meaning |", "|---|---|", *rows, "")
    if name in CLASSES:
        yield from (line for kind in CLASSES[name] for line in result(kind))
    elif name in FIGURES:
        yield from (
            "| JSON | meaning |",
            "|---|---|",
            *(f"| `{'`, `'.join(key.split(', '))}` | {text} |" for key, text in FIGURES[name].items()),
            "",
        )


def option(action: argparse.Action) -> str:
    """One row; nothing for --help."""
    if "--help" in action.option_strings:
        return ""
    value = "" if action.nargs == 0 else str(action.metavar or action.dest).replace("|", r"\|")
    words = ", ".join(action.option_strings) or ""
    shown = f"{words} {value}".strip() if action.nargs != 0 or words else value
    return f"| `{shown}` | {str(action.help).replace('%%', '%').replace('|', chr(92) + '|')} |"


def result(kind: type) -> Iterator[str]:
    """The fields of a class, with what its docstring says of them."""
    text = " ".join(str(kind.__doc__).split())
    told = dict(re.findall(r":param (\w+): (.*?)(?= :param| :raises|$)", text))
    yield f"`{kind.__name__}`: {text.partition(' :param')[0]}\n"
    yield from ("| JSON | type | meaning |", "|---|---|---|")
    for field in dataclasses.fields(kind):
        if not field.name.startswith("_"):
            yield f"| `{field.name}` | {str(field.type).replace('|', 'or')} | {told.get(field.name, '').replace('|', chr(92) + '|')} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
