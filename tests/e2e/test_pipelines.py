"""openvino-genai pipelines on a folder with levels, as docs/pipelines.md says: what is pruned nowhere gives stock's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_folders import PROMPT, PROPERTIES, language_models

import scap_ov
from scap_ov import pipelines
from scap_ov.errors import BadModelError, UsageError

pytestmark = pytest.mark.slow  # tokenizers of the models are made with transformers

genai = pytest.importorskip("openvino_genai")
NEW = 12
QUESTIONS = [PROMPT, "w44 w2 w91 w7", "w60 w61 w62 w63 w64 w65"]


@pytest.fixture(scope="module")
def folders() -> Path:
    pytest.importorskip("openvino_tokenizers")
    return language_models()


def config(**options: Any) -> Any:
    return genai.GenerationConfig(
        **{"max_new_tokens": NEW, "do_sample": False, "ignore_eos": True, "apply_chat_template": False, **options}
    )


def texts(pipeline: Any, prompts: list[str] = QUESTIONS, **options: Any) -> list[str]:
    """One request after the other."""
    return [pipeline.generate([prompt], config(**options)).texts[0] for prompt in prompts]


@pytest.fixture(scope="module")
def stock(folders: Path) -> Any:
    return scap_ov.open_pipeline(folders / "stock", **PROPERTIES)


@pytest.fixture(scope="module")
def stock_texts(stock: Any) -> list[str]:
    return texts(stock)


@pytest.fixture(scope="module")
def pipeline(folders: Path) -> Any:
    """The default pipeline; tests choose their level."""
    return scap_ov.open_pipeline(folders / "levels", **PROPERTIES)


@pytest.fixture
def dense(pipeline: Any) -> Any:
    scap_ov.set_level(0, "levels")
    return pipeline


@pytest.mark.parametrize("backend", ["PA", "SDPA"])
def test_level_0_writes_stock_text_and_other_levels_their_own(folders, stock_texts, backend) -> None:
    sparse = scap_ov.open_pipeline(folders / "levels", level=0, ATTENTION_BACKEND=backend, **PROPERTIES)
    assert texts(sparse) == stock_texts
    scap_ov.set_level(0.5)
    assert texts(sparse) != stock_texts
    scap_ov.set_level(0)
    assert texts(sparse) == stock_texts


def test_streaming_and_stop_strings(dense, stock_texts) -> None:
    pieces: list[str] = []
    dense.generate([PROMPT], config(), lambda piece: pieces.append(piece) or genai.StreamingStatus.RUNNING)
    assert "".join(pieces).strip() == stock_texts[0].strip()
    word = stock_texts[0].split()[4]
    stopped = dense.generate([PROMPT], config(stop_strings={word}, include_stop_str_in_output=True)).texts[0]
    assert stopped.split()[-1] == word
    assert len(stopped.split()) <= 5


def test_chat_history(stock, dense) -> None:
    answers = []
    for each in (stock, dense):
        history, own = genai.ChatHistory(), []
        for question in QUESTIONS[:2]:
            history.append({"role": "user", "content": question})
            own.append(each.generate(history, config(apply_chat_template=True)).texts[0])
            history.append({"role": "assistant", "content": own[-1]})
        answers.append(own)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("options", [
    {"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True, "temperature": 1.3, "top_k": 20, "rng_seed": 7},
], ids=["beams", "sampling"])  # fmt: skip
def test_beams_and_sampling(stock, dense, options) -> None:
    assert stock.generate([PROMPT], config(**options)).texts == dense.generate([PROMPT], config(**options)).texts


@pytest.mark.parametrize("prefix_caching", [False, True])
def test_continuous_batching_of_several_requests(folders, stock_texts, prefix_caching) -> None:
    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching, scheduler.cache_size, scheduler.max_num_seqs = prefix_caching, 1, 4
    batch = scap_ov.open_pipeline(folders / "levels", "continuous_batching", level=0, scheduler_config=scheduler, **PROPERTIES)
    for _ in range(2):  # the second time prompts come from the cache
        found = batch.generate(QUESTIONS, [config() for _ in QUESTIONS])
        assert [each.m_generation_ids[0] for each in found] == stock_texts
    handles = [batch.add_request(number, prompt, config()) for number, prompt in enumerate(QUESTIONS)]
    while batch.has_non_finished_requests():
        batch.step()
    tokenizer = batch.get_tokenizer()
    assert [tokenizer.decode(handle.read_all()[0].generated_ids) for handle in handles] == stock_texts


def test_prompt_lookup_writes_the_greedy_text(folders, stock_texts) -> None:
    lookup = scap_ov.open_pipeline(folders / "levels", level=0, prompt_lookup=True, **PROPERTIES)
    assert texts(lookup, num_assistant_tokens=3, max_ngram_size=2) == stock_texts


def test_a_folder_drafts_for_itself_and_the_text_is_the_dense_one(folders, stock_texts) -> None:
    both = scap_ov.open_pipeline(folders / "levels", level=0, draft_level=0.25, **PROPERTIES)
    assert texts(both, num_assistant_tokens=3) == stock_texts
    assert (scap_ov.level("levels"), scap_ov.level("levels.draft")) == (0, 0.25)
    metrics = both.generate([PROMPT], config(num_assistant_tokens=3)).extended_perf_metrics
    assert metrics.get_num_accepted_tokens() > 0
    scap_ov.set_level(0, "levels.draft")  # a draft that is the model itself is never wrong
    metrics = both.generate([PROMPT], config(num_assistant_tokens=3)).extended_perf_metrics
    assert metrics.get_draft_acceptance_rate() == pytest.approx(1.0)


def test_a_sparse_folder_drafts_for_the_stock_one(folders, stock_texts) -> None:
    both = scap_ov.open_pipeline(folders / "stock", draft=folders / "levels", draft_level=0.5, **PROPERTIES)
    assert texts(both, num_assistant_tokens=3) == stock_texts


@pytest.mark.slow  # two pipelines and two back ends for each
@pytest.mark.parametrize("properties", [
    {"KV_CACHE_PRECISION": "u8"}, {"KV_CACHE_PRECISION": "f16"}, {"NUM_STREAMS": 2}, {"PERFORMANCE_HINT": "THROUGHPUT"},
    {"PERFORMANCE_HINT": "LATENCY"}, {"INFERENCE_NUM_THREADS": 1}, {"device": "AUTO"}, {"device": "HETERO:CPU"}, {"device": "AUTO:CPU"},
], ids=lambda properties: "-".join(f"{key}-{value}" for key, value in properties.items()))  # fmt: skip
def test_properties_and_devices(folders, properties) -> None:
    device, words = properties.get("device", "CPU"), {k: v for k, v in properties.items() if k != "device"}
    for backend in ("SDPA",) if device != "CPU" else ("PA", "SDPA"):
        given = {**({} if "KV_CACHE_PRECISION" in words else PROPERTIES), **words, "ATTENTION_BACKEND": backend}
        given = {"INFERENCE_PRECISION_HINT": "f32", **given}
        expected = texts(scap_ov.open_pipeline(folders / "stock", "llm", device, **given), QUESTIONS[:1])
        assert texts(scap_ov.open_pipeline(folders / "levels", "llm", device, level=0, **given), QUESTIONS[:1]) == expected


def test_cache_dir(folders, stock_texts, tmp_path) -> None:
    for _ in range(2):
        assert texts(scap_ov.open_pipeline(folders / "levels", level=0, CACHE_DIR=str(tmp_path), **PROPERTIES)) == stock_texts
    assert list(tmp_path.glob("*.blob"))


def test_register_genai_lets_a_draft_and_a_plain_pipeline_be_opened(folders, stock_texts) -> None:
    scap_ov.register_genai()
    scap_ov.register_genai()
    draft = genai.draft_model(str(folders / "levels"), "CPU", **PROPERTIES)
    main = genai.LLMPipeline(str(folders / "stock"), "CPU", draft_model=draft, **PROPERTIES)
    assert texts(main, QUESTIONS[:1], num_assistant_tokens=3) == stock_texts[:1]


@pytest.mark.parametrize(("words", "sentence"), [
    ({"kind": "lm"}, "kind is 'lm'; give one of llm, continuous_batching, vlm, whisper, embedding, rerank"),
    ({"kind": "embedding", "draft_level": 0.5}, "a draft goes with kind llm or continuous_batching, not embedding"),
    ({"level": 0.3}, "level 0.3 is not in the model 'levels'; it has 0, 0.25, 0.5"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(folders, words, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        scap_ov.open_pipeline(folders / "levels", **words)


def test_folders_without_levels_or_models_are_refused(folders, tmp_path) -> None:
    for words in ({"level": 0.5}, {"draft_level": 0.5}):
        with pytest.raises(UsageError, match="has no levels; apply it with --levels"):
            scap_ov.open_pipeline(folders / "stock", **words)
    with pytest.raises(UsageError, match="cannot be told from its files; give kind"):
        scap_ov.open_pipeline(tmp_path)
    with pytest.raises(BadModelError, match="there is no folder"):
        scap_ov.open_pipeline(tmp_path / "nowhere")
    assert set(pipelines.KINDS) == {"llm", "continuous_batching", "vlm", "whisper", "embedding", "rerank"}
