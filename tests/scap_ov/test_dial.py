"""set_level and level: what they refuse, whom they mean, what a step sees while others turn."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from level_models import LEVELS, K, levels_model

import scap_ov
from scap_ov import dial
from scap_ov.errors import UsageError
from scap_ov.sample_models.random_llm import Shape, build

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
X = np.random.default_rng(5).standard_normal((1, 1, K)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders `one` and `other`."""
    place = tmp_path_factory.mktemp("levels")
    _, _, model = levels_model()
    for name in ("one", "other"):
        scap_ov.save_model(model, place / name)
    return place


@pytest.fixture
def core() -> ov.Core:
    core = ov.Core()
    scap_ov.register(core)
    return core


@pytest.fixture
def both(folders: Path, core: ov.Core) -> list[ov.CompiledModel]:
    """Both compiled, at the level that they start with."""
    compiled = [core.compile_model(folders / name / "openvino_model.xml", "CPU", F32) for name in ("one", "other")]
    for name in ("one", "other"):
        scap_ov.set_level(0.5, name)
    return compiled


def test_a_level_is_that_of_one_model_or_of_all(both: list[ov.CompiledModel], folders: Path) -> None:
    before = np.array(both[0](X)[0])
    scap_ov.set_level(0.25, folders / "other")
    assert (scap_ov.level("one"), scap_ov.level("other")) == (0.5, 0.25)
    assert np.array_equal(both[0](X)[0], before)
    assert not np.array_equal(both[1](X)[0], before)
    with pytest.raises(UsageError, match=r"models have different levels \(.*one 0.5.*other 0.25.*\); name one of them"):
        scap_ov.level()
    assert {"one", "other"} <= set(dial.models_with_levels())
    assert dial.levels("one") == LEVELS


@pytest.mark.parametrize(("level", "model", "sentence"), [
    (0.3, "one", "level 0.3 is not in the model 'one'; it has 0, 0.25, 0.5"),
    (0.25, "none", "no model named 'none' with levels is loaded; there are: "),
    (float("nan"), "one", "level nan is not"), (True, None, "level is True; give a number"),
])  # fmt: skip
def test_what_there_is_not_is_refused_and_nothing_changes(both, level, model, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        scap_ov.set_level(level, model)
    assert scap_ov.level("one") == 0.5
    assert len(both) == 2


@pytest.mark.parametrize(
    ("value", "levels"), [("0.25", (0.25, 0.25)), ("0.25,env-other=0", (0.25, 0.0)), ("env-one=0,0.25", (0.0, 0.25)), ("", (0.5, 0.5))]
)
def test_the_environment_says_what_a_model_starts_with(folders, core, monkeypatch, tmp_path, value, levels) -> None:
    for name in ("one", "other"):
        text = (folders / name / "openvino_model.xml").read_text()
        (tmp_path / f"{name}.xml").write_text(text.replace(f'level_model="{name}"', f'level_model="env-{name}"'))
        (tmp_path / f"{name}.bin").symlink_to(folders / name / "openvino_model.bin")
    monkeypatch.setenv("SCAP_OV_LEVEL", value)
    models = [core.read_model(tmp_path / f"{name}.xml") for name in ("one", "other")]
    assert tuple(scap_ov.level(f"env-{name}") for name in ("one", "other")) == levels
    assert len(models) == 2


@pytest.mark.parametrize(
    ("value", "sentence"), [("0.3", "level 0.3 is not in the model 'new'; it has 0, 0.25, 0.5"), ("much", "SCAP_OV_LEVEL holds 'much'")]
)
def test_an_environment_that_cannot_be_meant_is_refused_when_a_model_is_read(folders, core, monkeypatch, tmp_path, value, sentence) -> None:
    text = (folders / "one" / "openvino_model.xml").read_text()
    (tmp_path / "m.xml").write_text(text.replace('level_model="one"', 'level_model="new"'))
    (tmp_path / "m.bin").symlink_to(folders / "one" / "openvino_model.bin")
    monkeypatch.setenv("SCAP_OV_LEVEL", value)
    with pytest.raises(RuntimeError, match=sentence):
        core.read_model(tmp_path / "m.xml")


@pytest.mark.parametrize("streams", [1, 2])
def test_a_step_runs_at_one_level_whoever_turns_the_dial_meanwhile(core, tmp_path, streams) -> None:
    """Four requests run while a thread turns the dial without pause: every answer is that of one level, and not always of the same."""
    from level_models import levels_plan

    from scap_ov.backends.openvino import rewrite

    stock = build(Shape("deep", layers=6, hidden=K, ffn=K, heads=4, kv_heads=4, vocabulary=64), "i4_g32", 6)
    model = rewrite(stock, levels_plan(stock), "lowered", {})
    scap_ov.save_model(model, tmp_path / "deep")
    compiled = core.compile_model(tmp_path / "deep" / "openvino_model.xml", "CPU", {**F32, "NUM_STREAMS": streams})
    inputs = {"input_ids": np.array([[7]]), "attention_mask": np.ones((1, 1), np.int64), "position_ids": np.zeros((1, 1), np.int64),
              "beam_idx": np.zeros(1, np.int32)}  # fmt: skip
    names = {name for port in compiled.inputs for name in port.get_names()}
    inputs = {name: value for name, value in inputs.items() if name in names}

    def answer(request: ov.InferRequest) -> bytes:
        request.reset_state()
        return np.array(request.infer(inputs)["logits"]).tobytes()

    request, expected = compiled.create_infer_request(), {}
    for level in LEVELS:
        scap_ov.set_level(level, "deep")
        expected[level] = answer(request)
    assert len(set(expected.values())) == len(LEVELS)
    seen: list[bytes] = []
    done = threading.Event()

    def turn() -> None:
        number = 0
        while not done.is_set():
            scap_ov.set_level(LEVELS[number % 3], "deep")
            number += 1

    def run() -> None:
        own = compiled.create_infer_request()
        seen.extend(answer(own) for _ in range(60))

    turner, runners = threading.Thread(target=turn), [threading.Thread(target=run) for _ in range(4)]
    for thread in (turner, *runners):
        thread.start()
    for thread in runners:
        thread.join()
    done.set()
    turner.join()
    assert len(seen) == 240
    assert set(seen) <= set(expected.values()), "a step saw two levels"
    assert len(set(seen)) > 1
