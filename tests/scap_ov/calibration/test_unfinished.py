"""A calibration that is interrupted anywhere goes on where it stopped, and gives the profile of one that was not, bit for bit."""

from __future__ import annotations

import nncf
import numpy as np
import pytest
from small_llm import SHAPE, small_llm

import scap_ov
from scap_ov.calibration import observe as observing
from scap_ov.errors import OutputError, UsageError

SAMPLES, LENGTH = 6, 20


class StopError(Exception):
    """Somebody pulled the plug."""


def data(samples=SAMPLES):
    rng = np.random.default_rng(1)
    return nncf.Dataset([{"input_ids": rng.integers(0, SHAPE.vocabulary, (1, LENGTH))} for _ in range(samples)])


@pytest.fixture(scope="module")
def model():
    return small_llm("i8")


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    return saved(scap_ov.calibrate(model, data()), tmp_path_factory.mktemp("whole"))


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Two samples to a group."""
    monkeypatch.setattr(observing, "KEPT_TOKENS", 2 * LENGTH)


def saved(profile, folder):
    profile.save(folder / "p")
    return (folder / "p").read_bytes()


def stopping(title, share):
    """A progress that ends the run when this share of a step is done."""

    def progress(done, total, step):
        if step == title and done >= share * (total or done):
            raise StopError

    return progress


@pytest.mark.parametrize(
    ("title", "share"),
    [
        ("observing", 0.5),
        ("measuring sensitivity", 0.6),
        ("measuring the drift of thresholds", 0.5),
    ],
)
def test_goes_on_where_it_stopped(model, whole, tmp_path, title, share):
    file = tmp_path / "checkpoint"
    with pytest.raises(StopError):
        scap_ov.calibrate(model, data(), checkpoint=file, progress=stopping(title, share))
    seen = []
    profile = scap_ov.calibrate(model, data(), checkpoint=file, progress=lambda done, _, step: seen.append((step, done)))
    assert saved(profile, tmp_path) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["p"]  # what was kept is gone
    if title != "observing":
        assert "observing" not in {step for step, _ in seen}
    elif share == 0.5:
        assert min(done for step, done in seen if step == "observing") > 2  # one group of samples is passed over
    if "drift" in title:
        assert "measuring sensitivity" not in {step for step, _ in seen}


def test_what_is_kept_of_other_data_or_options_is_refused(model, tmp_path):
    file = tmp_path / "checkpoint"
    with pytest.raises(StopError):
        scap_ov.calibrate(model, data(), checkpoint=file, progress=stopping("measuring sensitivity", 0.01))
    for other, options in ((data(4), {}), (data(), {"sequential": True})):
        with pytest.raises(OutputError, match="of another model, other data or options"):
            scap_ov.calibrate(model, other, checkpoint=file, **options)
    (tmp_path / "checkpoint.profile").write_text("no profile")
    with pytest.raises(UsageError, match="calibration profile"):
        scap_ov.calibrate(model, data(), checkpoint=file)
