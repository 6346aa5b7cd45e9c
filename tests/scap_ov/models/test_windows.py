"""Windows of text, runs over them, and the tasks on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
from openvino import opset13 as ops
from small_llm import TEXT, letters, small_llm

from scap_ov.errors import BadDatasetError, BadModelError, UsageError
from scap_ov.evaluation.similarity import compare_generation
from scap_ov.evaluation.tasks import run_task
from scap_ov.models.jsonl import read_jsonl
from scap_ov.models.last_product import LazyLogits, split_off
from scap_ov.models.text import read_text
from scap_ov.models.window_runner import WindowRunner
from scap_ov.models.windows import text_windows

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}


@pytest.fixture(scope="module")
def runner() -> WindowRunner:
    return WindowRunner(small_llm(), properties=EXACT)


def test_windows_spread_over_the_text_within_the_budget() -> None:
    windows = text_windows(TEXT, letters, window=32, max_tokens=96)
    assert [len(w) for w in windows] == [32, 32, 32]
    assert windows[0].tolist() == letters(TEXT[:32])
    assert windows[-1].tolist() == letters(TEXT[: 32 * (len(TEXT) // 32)])[2 * (len(TEXT) // 32) // 3 * 32 :][:32]


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (["ab", "cd"], "is \\['ab', 'cd'\\]; give token ids"),
        ([1.5, 2.0], "give token ids, whole numbers"),
        (None, "is None; give token ids"),
        ([[1, 2], [3]], "give token ids"),
        ([1, -2, 3], "has the negative id -2"),
        ([[1, 2], [3, 4]], "has the shape \\[2, 2\\]; give one sequence"),
        (5, "has the shape \\[\\]; give one sequence"),
    ],
)
def test_windows_that_are_no_token_ids_are_refused(window: object, told: str) -> None:
    """Negative ids and fractions were evaluated as what they were cut to."""
    with pytest.raises(BadDatasetError, match=f"window 1 of the evaluation data {told}" if not told.startswith("give") else told):
        text_windows([[1, 2, 3], window], None, window=8, max_tokens=8)


def test_what_holds_no_windows_or_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(UsageError, match="the evaluation data is of type NoneType; give a text"):
        text_windows(None, None, window=8, max_tokens=8)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tokenizer is of type int; give a function"):
        text_windows(TEXT, 5, window=8, max_tokens=8)  # type: ignore[arg-type]
    ready = text_windows([[1, 2], np.array([[3, 4]], np.int32), [5]], None, window=8, max_tokens=8)
    assert [ids.tolist() for ids in ready] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("given", [None, "ids", {"input_ids": [1, 2]}, [0.5, 1.5], [[1], [2, 3]]])
@pytest.mark.parametrize("text", ["abc " * 20, "abc " * 9000])
def test_a_tokenizer_that_gives_no_ids_is_told(given: object, text: str) -> None:
    """A tokenizer of transformers gives a dict when it is called; its keys were taken for tokens."""
    with pytest.raises(UsageError, match=f"the tokenizer gives a {type(given).__name__} for a text, and no list of token ids"):
        text_windows(text, lambda _: given, window=8, max_tokens=8)  # type: ignore[arg-type, return-value]


def test_text_comes_from_files_and_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    assert read_text(tmp_path / "a.jsonl") == "one\n\ntwo"
    with pytest.raises(BadDatasetError, match="cannot be read"):
        read_text(tmp_path / "absent.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(BadDatasetError, match="UTF-8"):
        read_text(tmp_path / "b.txt")


def test_too_little_text_is_told() -> None:
    with pytest.raises(BadDatasetError, match="has 1 tokens"):
        text_windows("a", letters, window=32, max_tokens=96)
    with pytest.raises(BadDatasetError, match="no window"):
        text_windows([[1]], None, window=32, max_tokens=96)


def test_stepwise_gives_the_logits_of_one_pass_and_windows_do_not_leak(runner: WindowRunner) -> None:
    ids = np.array(letters(TEXT[:24]), np.int64)
    whole = runner.whole(ids)[0].copy()
    stepped, _ = runner.stepwise(ids, 10)
    np.testing.assert_allclose(stepped, whole[9:], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(runner.whole(ids)[0], whole)


def test_logits_in_rows_are_those_of_one_pass(runner: WindowRunner) -> None:
    ids = np.array(letters(TEXT[:24]), np.int64)
    wanted = runner.whole(ids)[0].copy()
    lazy = WindowRunner(small_llm(), properties=EXACT, in_rows=True)
    found = lazy.whole(ids)[0]
    assert isinstance(found, LazyLogits)
    assert found.shape == wanted.shape
    for part in (slice(0, 7), slice(7, 24), slice(-1, None)):
        np.testing.assert_allclose(found[part], wanted[part], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(lazy.stepwise(ids, 10)[0], wanted[9:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("whole", [True, False])
def test_logits_in_rows_of_a_narrow_model_are_numbers(dtype: str, whole: bool) -> None:
    """Bits of bfloat16 were read as float16: perplexity was twice what it is."""
    model = small_llm()
    if whole:
        tiny.computing_in(dtype, model)
    else:
        result = model.outputs[0].get_node()
        result.input(0).replace_source_output(ops.convert(result.input_value(0), dtype).output(0))
        model.validate_nodes_and_infer_types()
    ids = np.array(letters(TEXT[:24]), np.int64)
    wanted = WindowRunner(small_llm(), properties=EXACT).whole(ids)[0]
    found = WindowRunner(model, properties=EXACT, in_rows=True).whole(ids)[0]
    assert isinstance(found, LazyLogits)
    np.testing.assert_allclose(found[0:24], wanted, atol=0.1)


def test_logits_of_two_products_are_not_split() -> None:
    x = ops.parameter([1, -1, 4], np.float32)
    one, two = (ops.matmul(x, ops.constant(np.full((6, 4), value, np.float32)), False, True) for value in (1, 2))
    assert split_off(ops.subtract(one, two).output(0), {}) is None  # as lm_head that is read by half
    assert split_off(ops.matmul(x, x, False, True).output(0), {}) is None
    shifted = split_off(ops.add(one, ops.constant(np.arange(6, dtype=np.float32))).output(0), EXACT)
    assert shifted is not None
    np.testing.assert_allclose(shifted.of(np.ones((3, 4), np.float32))[1:3], 4 + np.arange(6) * np.ones((2, 1)))


def test_a_model_without_logits_is_told() -> None:
    from openvino import Model
    from openvino import opset13 as ops

    x = ops.parameter([1, 2], np.float32)
    with pytest.raises(BadModelError, match="no output 'logits'"):
        WindowRunner(Model([ops.relu(x)], [x], "m"))


def test_multiple_choice_picks_what_the_model_finds_likelier(runner: WindowRunner) -> None:
    ids = np.array(letters("Q\nAnswer: "), np.int64)
    best = chr(int(runner.whole(ids)[0][-1, 33:127].argmax()) + 33)
    worst = chr(int(runner.whole(ids)[0][-1, 33:127].argmin()) + 33)
    questions = [{"query": "Q", "choices": [worst, best], "gold": 1}, {"query": "Q", "choices": [worst, best], "gold": 0}]
    result = run_task(runner, letters, questions)
    assert (result.kind, result.questions, result.accuracy, result.accuracy_per_character) == ("multiple_choice", 2, 0.5, 0.5)


def test_cloze_is_right_when_greedy_decoding_would_write_it(runner: WindowRunner) -> None:
    best = chr(int(runner.whole(np.array(letters("abc"), np.int64))[0][-1].argmax()))
    other = "a" if best != "a" else "b"
    result = run_task(runner, letters, [{"context": "abc", "continuation": best}, {"context": "abc", "continuation": other}])
    assert (result.kind, result.accuracy) == ("cloze", 0.5)


@pytest.mark.parametrize(("question", "told"), [({"query": "a", "choices": ["b"]}, "lacks gold"), ({"context": "a"}, "lacks continuation"),
                                                ({"query": "a", "choices": ["b"], "gold": 1}, "gold counts from 0")])  # fmt: skip
def test_broken_questions_are_told(runner: WindowRunner, question: dict[str, object], told: str) -> None:
    with pytest.raises(BadDatasetError, match=told):
        run_task(runner, letters, [question])


def test_broken_jsonl_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"a": 1}\nnonsense\n')
    with pytest.raises(BadDatasetError, match="line 2 is no JSON"):
        read_jsonl(tmp_path / "q.jsonl")
    (tmp_path / "q.jsonl").write_text("\n")
    with pytest.raises(BadDatasetError, match="empty"):
        read_jsonl(tmp_path / "q.jsonl")


def test_a_model_writes_like_itself_and_unlike_another(runner: WindowRunner) -> None:
    prompts = [np.array(letters("A dog"), np.int64), np.array(letters("hill"), np.int64)]
    same = compare_generation(runner, WindowRunner(small_llm(), properties=EXACT), prompts, 8)
    assert (same.identical, same.common_prefix, same.similarity) == (1.0, 8.0, 1.0)
    other = compare_generation(runner, WindowRunner(small_llm("f16"), properties=EXACT), prompts, 8)
    assert other.similarity < 1
