"""Running a model block by block gives what the whole model gives: inputs of sites, gradients, tables; and an interrupted run goes on."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
import tiny_models as tiny
from small_llm import SHAPE, TEXT, letters, small_llm

import scap_ov
from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.borders import Borders
from scap_ov.calibration.checkpoint import Checkpoint, check_checkpoint
from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.observe import observe
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import pick_windows
from scap_ov.calibration.sensitivity import measure_sensitivity
from scap_ov.calibration.site_gradients import block_gradients, whole_gradients
from scap_ov.errors import OutputError, UncutError, UsageError
from scap_ov.models.dataset import text_dataset
from scap_ov.plan import SitePlan
from scap_ov.sample_models.random_llm import build


@pytest.fixture(scope="module")
def model():
    return small_llm("i4_g32")


@pytest.fixture(scope="module")
def dataset(model):
    return text_dataset(TEXT, letters, model, seq_len=48, max_tokens=200)


class Taken:
    """Keeps what it is given, by site."""

    def __init__(self):
        self.rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def __call__(self, name, x, g):
        self.rows.setdefault(name, []).append((x.copy(), g.copy()))


def assert_close(one, two, rounding=2e-5):
    """Relative to the largest entry: f32 rounding through two blocks; a wrong gradient shows as 1."""
    assert np.abs(one - two).max() <= rounding * np.abs(two).max()


EXPERTS = replace(SHAPE, ffn=64, experts=4, used=2)


@pytest.mark.parametrize(("weights", "shape"), [("i4_g32", SHAPE), ("i8", SHAPE), ("f16", SHAPE), ("i8", EXPERTS), ("i4_g32", EXPERTS)])
def test_inputs_and_gradients_are_those_of_the_whole_model(weights, shape, dataset):
    model = build(shape, weights, shape.layers)
    blocks, whole = BlockModel(model), GradientModel(model, inputs=True)
    windows = pick_windows(blocks, dataset, 1 << 30)
    one, two = Taken(), Taken()
    block_gradients(blocks, windows, one)
    whole_gradients(whole, windows, whole.sites, two)
    assert set(one.rows) == set(two.rows) == {site.name for site in blocks.sites}
    for name, found in one.rows.items():
        assert len(found) == len(windows)
        for (x, g), (x_whole, g_whole) in zip(found, two.rows[name], strict=True):
            assert_close(x, x_whole)
            assert_close(g, g_whole)


@pytest.mark.parametrize(("dtype", "shape"), [("f16", SHAPE), ("bf16", SHAPE), ("f16", EXPERTS)])
def test_a_model_of_another_float_type_has_the_gradients_of_its_twin(dtype, shape, dataset):
    """It is computed in f32 for calibration, as the plugin computes it; its states keep their type."""
    wide = build(shape, "i4_g32", shape.layers)
    narrow = tiny.computing_in(dtype, wide.clone())
    taken = {}
    for name, model in (("wide", wide), ("narrow", narrow)):
        blocks, taken[name] = BlockModel(model), Taken()
        block_gradients(blocks, pick_windows(blocks, dataset, 100), taken[name])
    assert taken["narrow"].rows.keys() == taken["wide"].rows.keys()
    rounding = 0.02 if dtype == "bf16" else 3e-3  # of the constants
    for name, rows in taken["wide"].rows.items():
        for one, two in zip(rows, taken["narrow"].rows[name], strict=True):
            assert_close(two[0], one[0], rounding)
            assert_close(two[1], one[1], rounding)
    assert {output.get_element_type().get_type_name() for output in narrow.outputs} == {dtype}


def test_experts_are_observed_block_by_block_as_in_the_whole_model(dataset, monkeypatch):
    model = build(EXPERTS, "i8", 2)
    blocks = BlockModel(model, prunes=["block.0.expert_up", "block.0.expert_down"])
    assert sum(layout.slot_bytes for layout in blocks.piecewise.layouts) > 4 * 2 * 3 * EXPERTS.experts * EXPERTS.hidden * EXPERTS.ffn
    profile = observe(model, dataset)

    def refuse(*_, **__):
        raise UncutError

    monkeypatch.setattr("scap_ov.calibration.observe.BlockModel", refuse)
    whole = observe(model, dataset)
    for name, statistics in whole.statistics.items():
        assert statistics.count == profile.statistics[name].count
        if "expert_tokens" in statistics.tensors:
            np.testing.assert_array_equal(statistics.tensors["expert_tokens"], profile.statistics[name].tensors["expert_tokens"])
        assert_close(profile.statistics[name].rows.astype(np.float32), statistics.rows.astype(np.float32), 2e-3)


def test_inputs_behind_pruned_experts_are_those_of_the_whole_model(dataset):
    model = build(EXPERTS, "i8", 2)
    blocks = BlockModel(model, prunes=["block.0.expert_up", "block.0.expert_down"])
    windows = pick_windows(blocks, dataset, 60)
    entries = {
        site.name: SitePlan(site.name, np.full(1, 0.3, np.float32), np.full(site.in_features, 0.01, np.float32), 0.5)
        for site in blocks.sites
        if site.name in ("block.0.expert_up", "block.0.expert_down")
    }
    found = []
    for one, plan in ((blocks, {}), (blocks, entries), (ProbeModel(model, compare=False, observe=True), entries)):
        taken: dict[str, np.ndarray] = {}
        one.inputs_of(windows[:1], plan, lambda _, taps, taken=taken: taken.update({k: v.copy() for k, v in taps.items()}))
        found.append(taken)
    dense, pruned, whole = found
    assert np.abs(pruned["block.1.qkv"] - dense["block.1.qkv"]).max() > 1e-3 * np.abs(dense["block.1.qkv"]).max()
    for site in blocks.sites:
        assert_close(pruned[site.name].reshape(-1, site.in_features), whole[site.name].reshape(-1, site.in_features))


def test_the_vocabulary_in_chunks_gives_the_same(dataset, model, monkeypatch):
    windows = pick_windows(BlockModel(model), dataset, 1 << 30)
    found = []
    for size in (64 << 20, 4 * SHAPE.hidden * 50):
        monkeypatch.setattr("scap_ov.calibration.projection.CHUNK_BYTES", size)
        blocks = BlockModel(model)
        found.append(Taken())
        block_gradients(blocks, windows, found[-1])
    assert blocks.head.chunk < SHAPE.vocabulary
    for name, rows in found[0].rows.items():
        for (_, g), (_, g_chunked) in zip(rows, found[1].rows[name], strict=True):
            assert_close(g_chunked, g)


def test_blocks_of_one_structure_share_a_program():
    many = build(SHAPE.__class__("deep", 6, 64, 128, 4, 2, 128), "i8", 6)
    blocks = BlockModel(many)
    assert blocks.blocks == 6
    assert len({layout.structure for layout in blocks.piecewise.layouts[1:-2]}) == 1


def test_samples_in_small_groups_are_observed_alike(model, dataset):
    one, two = observe(model, dataset), observe(model, dataset, group_bytes=1)
    for name, statistics in one.statistics.items():
        for key, value in statistics.tensors.items():
            np.testing.assert_array_equal(value, two.statistics[name].tensors[key], err_msg=f"{name} {key}")


def test_an_interrupted_measurement_goes_on_where_it_stopped(model, dataset, tmp_path, monkeypatch):
    profile = observe(model, dataset)
    whole = measure_sensitivity(model, dataset, profile)
    file = tmp_path / "kept"
    steps = []

    def stop(done, total):
        steps.append(total)
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(model, dataset, profile, checkpoint=file, progress=stop)
    assert file.exists()
    totals = []
    resumed = measure_sensitivity(model, dataset, profile, checkpoint=file, progress=lambda _, total: totals.append(total))
    assert totals[0] < steps[0]
    assert not file.exists()
    for name, table in whole.sensitivity.items():
        np.testing.assert_array_equal(resumed.sensitivity[name]["loss"], table["loss"])


def test_a_foreign_checkpoint_is_refused_and_left_alone(model, dataset, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(OutputError, match=r"is no checkpoint of a calibration"):
        check_checkpoint(file)
    with pytest.raises(OutputError, match="is no checkpoint of a calibration"):
        measure_sensitivity(model, dataset, observe(model, dataset), checkpoint=file)
    assert file.read_text() == "mine"
    Checkpoint(tmp_path / "other", ["another"]).put({"a": np.zeros(1)})
    with pytest.raises(OutputError, match="is of another model, other data or options"):
        measure_sensitivity(model, dataset, observe(model, dataset), checkpoint=tmp_path / "other")


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_work(model, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("scap_ov.calibration.observe.observe", lambda *_, **__: pytest.fail("the work has begun"))
    for path, told in ((tmp_path / "nowhere" / "file", "its folder does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(OutputError, match=told):
            scap_ov.calibrate(model, dataset, checkpoint=path)
    with pytest.raises(UsageError, match="File name too long"):
        scap_ov.calibrate(model, dataset, checkpoint="a" * 300)


def test_borders_come_back_last_first_from_memory_and_from_the_file():
    rng = np.random.default_rng(1)
    kept = [[rng.standard_normal((3, 5)).astype(np.float32) for _ in range(2)] for _ in range(4)]
    borders = Borders(in_memory=200)
    for level in kept:
        borders.push(level)
    for level in reversed(kept):
        np.testing.assert_array_equal(borders.pop(), level)


def test_a_model_without_logits_is_calibrated_as_a_whole(model, dataset):
    nameless = model.clone()
    next(p for p in nameless.outputs if "logits" in p.get_names()).get_tensor().set_names({"scores"})
    assert isinstance(nameless, ov.Model)
    one, two = observe(nameless, dataset), observe(model, dataset)
    for name, statistics in one.statistics.items():
        assert_close(statistics.mean, two.statistics[name].mean, 1e-4)
