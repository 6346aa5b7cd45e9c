"""Values of options and of the TOML file: each is of its kind, or told in one sentence."""

from __future__ import annotations

import argparse

import pytest

from scap_ov.cli.options import MOST, add_config_options, parse_target, positive, read_config, seed
from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError


def config_of(*words):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return read_config(parser.parse_args([str(word) for word in words]))


def test_the_file_and_the_options_make_one_configuration(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbframp = 0.5\r\nmax_sparse_rows = 2\r\n")  # as Windows editors write it
    assert config_of("--config", tmp_path / "c.toml", "--max-sparse-rows", 3) == SparsityConfig(ramp=0.5, max_sparse_rows=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [("lm_head = 'no'", "lm_head is 'no'; give true, false or auto"), ("max_sparse_rows = 2.5", "max_sparse_rows is 2.5"),
     ("target-sparsity = 0.5", "did you mean 'target_sparsity'"), ("ignored_scope = [1]", "ignored_scope holds 1"),
     ("a.b = 1", "unknown key 'a'"), ("target_sparsity = 1979-05-27", "give a share"), ("x = [" * 3000, "cannot be read"),
     ("ramp = ", "cannot be read"), ("\0", "cannot be read"), ("ramp = 1" + "0" * 5000, "cannot be read")],
)  # fmt: skip
def test_a_file_of_something_else_is_one_sentence(tmp_path, text, told):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError) as e:
        config_of("--config", tmp_path / "c.toml")
    assert told in str(e.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "c.toml").write_bytes("ramp = 1".encode("utf-16"))
    for path in (tmp_path / "c.toml", tmp_path / "absent.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            config_of("--config", path)


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--max-sparse-rows", "2.5"), "max_sparse_rows is '2.5'"), (("--ramp", "x"), "ramp is 'x'"), (("--ignore", "re:("), "re:("),
     (("--ignore", ""), "ignored_scope holds ''"), (("--method", "tael"), "did you mean 'teal'"), (("--target-sparsity", "0,5"), "'0,5'")],
)  # fmt: skip
def test_values_on_the_command_line(words, told):
    with pytest.raises(UsageError) as e:
        config_of(*words)
    assert told in str(e.value)


@pytest.mark.parametrize(("words", "value"), [((), "auto"), (("--lm-head",), True), (("--no-lm-head",), False)])
def test_the_output_projection_is_a_switch_with_a_default_of_its_own(tmp_path, words, value):
    assert config_of(*words).lm_head == value
    (tmp_path / "c.toml").write_text(f"lm_head = {str(value).lower() if words else repr(value)}")
    assert config_of("--config", tmp_path / "c.toml").lm_head == value


def test_a_kind_that_is_named_twice_is_told():
    with pytest.raises(UsageError, match="names up twice"):
        parse_target("up=0.4,down=0.3, up=0.5")


@pytest.mark.parametrize(
    ("kind", "text"), [(positive, "0"), (positive, "1.5"), (seed, "-1"), (seed, str(MOST + 1)), (positive, "9" * 5000)]
)
def test_counts_and_seeds_out_of_range(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="give"):
        kind(text)
    assert kind(str(MOST)) == MOST
