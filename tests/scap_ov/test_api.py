"""The public verbs where they are more than a call of a backend."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from made_up_profile import small_profile
from small_llm import small_folder, small_llm

import scap_ov
from scap_ov.api import apply_with_plan
from scap_ov.calibration.split import Shard
from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import BadModelError, OutputError, ScapError, UsageError
from scap_ov.models.dataset import self_dataset, text_dataset, token_dataset
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.plan import SparsityPlan
from scap_ov.storage.model_folder import read_model
from scap_ov.storage.rt_info import read_record


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """A folder with something beside the model, as exporters write it."""
    folder = small_folder(tmp_path_factory.mktemp("api") / "stock")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.txt").write_text("a b c")
    return folder


@pytest.fixture(scope="module")
def data(stock):
    return token_dataset([[3, 1, 4, 1, 5, 9, 2, 6] * 2, [2, 7, 1, 8, 2, 8] * 2, [1, 6, 1, 8, 0, 3] * 2, [5, 7, 7, 2, 1] * 2], small_llm())


@pytest.fixture(scope="module")
def profile(stock, data):
    return scap_ov.calibrate(stock, data)


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("like", ["openvino_model.xml", "."])
def test_a_model_is_saved_with_what_lies_beside_the_stock_model(stock, profile, tmp_path, like):
    sparse = scap_ov.apply(stock, profile, scap_ov.SparsityConfig(method="scap", replace="always"))
    scap_ov.save_model(sparse, tmp_path / "sparse", like=stock / like)
    assert set(contents(tmp_path / "sparse")) >= {"openvino_model.xml", "openvino_model.bin", "scap_config.json", "config.json"}
    assert (tmp_path / "sparse" / "openvino_model.xml").read_text() != (stock / "openvino_model.xml").read_text()
    with pytest.raises(OutputError, match="is not empty"):
        scap_ov.save_model(sparse, tmp_path / "sparse", like=stock)


def test_a_folder_comes_whole_or_not_at_all(profile, stock, tmp_path):
    sparse = scap_ov.apply(stock, profile, scap_ov.SparsityConfig(method="scap", replace="always"))
    with pytest.raises(BadModelError, match="there is no"):
        scap_ov.save_model(sparse, tmp_path / "sparse", like=tmp_path / "nowhere")
    assert not (tmp_path / "sparse").exists()


@pytest.mark.parametrize("asked", [{"config": scap_ov.SparsityConfig(compensation=True)}, {"max_loss": "1%"}])
def test_a_profile_without_text_names_the_argument_that_brings_it(stock, profile, asked):
    with pytest.raises(UsageError, match=r"give text beside the profile \(data="):
        scap_ov.apply(stock, profile, **asked)


def test_max_loss_is_found_on_text_beside_a_profile(stock, profile, data):
    sparse = scap_ov.apply(stock, profile, scap_ov.SparsityConfig(method="scap", replace="always"), data=data, max_loss="kl=0.5")
    assert any(node.get_type_name() == "SparseMatMul" for node in sparse.get_ops())


def test_a_plan_brings_its_own_configuration(profile):
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(method="scap"))
    assert isinstance(plan, SparsityPlan)
    with pytest.raises(UsageError, match="brings its own configuration"):
        scap_ov.apply(small_llm(), plan, scap_ov.SparsityConfig(0.3))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: scap_ov.fit({}), "profile is of type dict; give a CalibrationProfile"),
        (lambda: scap_ov.fit(small_profile(), {"target_sparsity": 0.5}), "config is of type dict; give a SparsityConfig"),
        (lambda: scap_ov.fit(small_profile(), False), "config is of type bool; give a SparsityConfig"),
        (lambda: scap_ov.apply(small_llm(), small_profile(), scap_ov.SparsityConfig), "config is of type type; give a SparsityConfig"),
        (lambda: scap_ov.apply(small_llm(), small_profile(), max_loss=0.01), "max_loss is of type float; give text such as"),
        (lambda: scap_ov.calibrate(small_llm(), [], memory="2GB"), "memory is of type str; give a number of bytes"),
        (
            lambda: scap_ov.calibrate(small_llm(), SimpleNamespace(get_inference_data=lambda: None)),
            "of the calibration data gives a NoneType",
        ),
        (lambda: small_profile().merge("shard.safetensors"), "what is to be merged is of type str; give profiles"),
        (lambda: scap_ov.save_model(small_llm(), 5), "path is of type int; give the path"),
        (lambda: scap_ov.save_model(small_llm(), "a\0b"), "path holds a null character"),
        (lambda: scap_ov.save_model(small_llm(), "a", like=5), "like is of type int; give the stock model's folder or file"),
        (lambda: scap_ov.save_model(small_llm(), "a", overwrite="no"), "overwrite is of type str; give True or False"),
        (lambda: scap_ov.apply(small_llm(), small_profile(), max_loss=""), "max_loss is empty"),
        (lambda: scap_ov.apply(small_llm(), None, max_loss="much"), "max-loss is 'much'"),
        (lambda: scap_ov.apply(small_llm(), small_profile(), progress=3), "progress is of type int; give a function"),
        (lambda: scap_ov.calibrate(small_llm(), [], memory=float("nan")), "memory is nan; give a number of bytes"),
        (lambda: scap_ov.calibrate(small_llm(), [], sequential="no"), "sequential is of type str; give True or False"),
        (lambda: scap_ov.register("core"), "core is of type str; give an openvino.Core"),
        (lambda: scap_ov.open_pipeline(None), "folder is of type NoneType; give a model folder"),
        (lambda: scap_ov.open_pipeline(".", ["llm"]), "kind is .'llm'.; give one of llm"),
        (lambda: small_profile().save(5), "path is of type int; give a file"),
        (lambda: small_profile().save("a\0b"), "path holds a null character"),
        (lambda: scap_ov.CalibrationProfile.load("a" * 300), "path aaa.*… cannot be used .File name too long"),
        (lambda: scap_ov.evaluate(5, small_llm(), [[1, 2]]), "model is of type int; give an openvino.Model"),
        (lambda: scap_ov.evaluate(small_llm(), [], [[1, 2]]), "reference is of type list; give an openvino.Model"),
        (lambda: scap_ov.evaluate(small_llm(), small_llm(), [[1, 2]], rows=["all"]), "rows is .'all'.; give all or decode"),
        (lambda: scap_ov.evaluate(small_llm(), small_llm(), [[1, 2]], window=0), "window is 0; give at least 2"),
        (lambda: scap_ov.evaluate(small_llm(), small_llm(), [[1, 2]], properties=5), "properties is of type int; give a dict"),
        (lambda: text_dataset("a b c", "nowhere", 5), "model is of type int; give an openvino.Model"),
        (lambda: text_dataset("a b c", 5, small_llm()), "tokenizer is of type int; give a function"),
        (lambda: text_dataset(5, "nowhere", small_llm()), "text is of type int; give the text itself"),
        (lambda: text_dataset("a b c", "nowhere", small_llm(), seq_len="8"), "seq_len is of type str; give a whole number"),
        (lambda: scap_ov.benchmark("a", "b", repeats=3.5), "repeats is of type float; give a whole number"),
        (lambda: scap_ov.benchmark("a", "b", new_tokens=1), "new_tokens is 1; give at least 2"),
        (lambda: scap_ov.benchmark("a", "b", backend=None), "backend is None; give PA"),
        (lambda: scap_ov.benchmark("a", "b", levels=0.5), "levels is of type float; give a list of levels"),
        (lambda: scap_ov.set_level(0.5, 3), "model is of type int; give the name of a model"),
        (lambda: scap_ov.level([]), "model is of type list; give the name of a model"),
        (lambda: read_model(None), "the path of the model is of type NoneType; give a model folder"),
        (lambda: load_tokenizer(None), "folder is of type NoneType; give the folder of a tokenizer"),
        (lambda: Shard([], 1, 2), "dataset is of type list; give an nncf.Dataset"),
        (lambda: self_dataset(None), "folder is of type NoneType; give the folder of a model"),
        (lambda: self_dataset(".", tokens=1.5), "tokens is of type float; give a whole number"),
        (lambda: self_dataset(".", seed=-1), "seed is -1; give at least 0"),
        (lambda: scap_ov.save_model(small_llm(), ""), "path is empty"),
        (lambda: scap_ov.apply("", small_profile()), "the path of the model is empty"),
        (lambda: scap_ov.evaluate(small_llm(), small_llm(), "text", window=12.5), "window is of type float; give a whole number"),
        (lambda: scap_ov.evaluate(small_llm(), small_llm(), [[1, 2]], level="high"), "level is of type str; give a number"),
        (lambda: scap_ov.evaluate(small_llm(), small_llm(), [[1, 10**6]]), "holds token 1000000, and the model has"),
    ],
)
def test_arguments_of_another_type_are_one_sentence(call, told):
    with pytest.raises(ScapError, match=told):
        call()


def test_what_is_no_calibration_data_is_refused():
    with pytest.raises(UsageError, match="calibration is of type str; give an nncf"):
        scap_ov.apply(small_llm(), "text")
    with pytest.raises(UsageError, match="compensation is learned on the model, and fit has none"):
        scap_ov.fit(small_profile(), scap_ov.SparsityConfig(compensation=True))


@pytest.mark.parametrize("loses", [False, True])
def test_the_output_projection_goes_through_the_op_whole_where_that_is_faster(profile, monkeypatch, loses):
    """By default; it does not count in shares, and nothing of a fit depends on it. ADR 0043."""
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(0.5, method="scap"))
    stock = {"lm_head": "slower here"} if loses else {}
    monkeypatch.setattr("scap_ov.benchmarking.site_gain.sites_that_lose", lambda plan, measured=None, progress=None: stock)
    monkeypatch.setattr("scap_ov.benchmarking.row_gain.rows_that_pay", lambda plan, stock, measured=None, progress=None: {})
    model, decided = apply_with_plan(small_llm(), plan)
    assert decided.entries["lm_head"].drops_nothing
    assert decided.expected_sparsity() == plan.expected_sparsity()
    assert (model.outputs[0].get_node().input_value(0).get_node().get_type_name() == OP_NAME) is not loses
    assert read_record(model)["summary"]["expected_sparsity"] == pytest.approx(plan.expected_sparsity())
    assert 0 < scap_ov.evaluate(model, small_llm(), [list(range(1, 40))]).sparsity < 1


def test_what_where_faster_decided_is_kept_in_the_plan_and_not_measured_again(profile, tmp_path, monkeypatch):
    """A saved plan gives the same model wherever it is applied, and expects what that model does."""
    model = small_llm()
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(0.5, method="scap", lm_head=False))
    loser = next(iter(plan.entries))
    monkeypatch.setattr("scap_ov.benchmarking.site_gain.sites_that_lose", lambda plan, measured=None, progress=None: {loser: "slower here"})
    rows = {name: 2 for name in plan.entries if name != loser}
    monkeypatch.setattr("scap_ov.benchmarking.row_gain.rows_that_pay", lambda plan, stock, measured=None, progress=None: rows)
    _, decided = apply_with_plan(model, plan)
    assert decided.left_stock == {loser: "slower here"}
    assert plan.left_stock is None
    assert decided.expected_sparsity() < plan.expected_sparsity()
    decided.save(tmp_path / "plan")

    def measured_again(plan, measured=None, progress=None):
        raise AssertionError

    monkeypatch.setattr("scap_ov.benchmarking.site_gain.sites_that_lose", measured_again)
    monkeypatch.setattr("scap_ov.benchmarking.row_gain.rows_that_pay", measured_again)
    pruned, again = apply_with_plan(model, scap_ov.SparsityPlan.load(tmp_path / "plan"))
    assert again.left_stock == {loser: "slower here"}
    given = {int(op.get_attributes()["max_sparse_rows"]) for op in pruned.get_ops() if op.get_type_name() == OP_NAME}
    assert given == {2}
    summary = read_record(pruned)["summary"]
    assert summary["expected_sparsity"] == pytest.approx(again.expected_sparsity())
    assert [site["name"] for site in summary["sites"] if site["state"] == "stock"] == [loser]
