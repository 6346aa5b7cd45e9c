"""SmolLM2-135M-Instruct as models come in real life: the light road for all tests, optimum's exports for the slow ones.

Pruned folders are made of the first blocks of the model: what a test compares is there, and the text is nonsense.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from smollm2 import BLOCKS, exported_by_optimum, light_road

import scap_ov
from scap_ov.calibration import observe as observing
from scap_ov.models.dataset import text_dataset
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.sample_models.sample_text import documentation

# Every site is replaced, so that the op is what is tested; dynamic quantisation off, so that the forms can be compared.
CONFIG = scap_ov.SparsityConfig(target_sparsity=0.3, method="scap", replace="always", dynamic_quantization=False)


def observe(stock):
    """A small profile, without the sensitivities that method scap does not ask for."""
    model = ov.Core().read_model(stock / "openvino_model.xml")
    return observing.observe(model, text_dataset(documentation(8000), stock, model, max_tokens=1024))


def prune(stock, folder, form, profile, config=CONFIG):
    """A complete model folder in one of the forms."""
    pruned = scap_ov.apply(stock, profile, config, form=form)
    scap_ov.save_model(pruned, folder, like=stock)
    return folder


@pytest.fixture(scope="session")
def whole_folder():
    """The model that knows what the capital of France is."""
    return light_road()


@pytest.fixture(scope="session")
def stock_folder():
    return light_road(BLOCKS)


@pytest.fixture(scope="session")
def profile(stock_folder):
    return observe(stock_folder)


@pytest.fixture(scope="session")
def lowered_folder(stock_folder, profile, tmp_path_factory):
    return prune(stock_folder, tmp_path_factory.mktemp("sparse") / "lowered", "lowered", profile)


@pytest.fixture(scope="session")
def portable_folder(stock_folder, profile, tmp_path_factory):
    return prune(stock_folder, tmp_path_factory.mktemp("sparse") / "portable", "portable", profile)


@pytest.fixture(scope="session")
def unpruned_folder(stock_folder, profile, tmp_path_factory):
    """Every site runs in the op, and nothing is dropped."""
    nothing = replace(CONFIG, target_sparsity=0.0)
    return prune(stock_folder, tmp_path_factory.mktemp("sparse") / "unpruned", "lowered", profile, nothing)


@pytest.fixture(scope="session")
def exported():
    """A function from weight format, and number of blocks, to the folder of that export."""
    return exported_by_optimum


@pytest.fixture(scope="session", params=[pytest.param(BLOCKS, marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.real)])
def exported_sparse(request, exported, tmp_path_factory):
    """An export of optimum-cli, pruned and lowered, and its number of blocks: the first blocks in f16, or the whole in int8."""
    stock = exported("fp16", request.param) if request.param else exported("int8")
    return prune(stock, tmp_path_factory.mktemp("sparse") / "optimum", "lowered", observe(stock)), request.param


@pytest.fixture(scope="session")
def token_ids(stock_folder):
    """A prompt of nine tokens and three more to decode, int64 [1, 12]."""
    ids = load_tokenizer(stock_folder)("The capital of France is Paris, and the capital of Italy")[:12]
    return np.array([ids], np.int64)
