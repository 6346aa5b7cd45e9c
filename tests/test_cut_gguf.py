"""A cut GGUF file holds what the whole one holds of its first blocks."""

import numpy as np
from smollm2 import BLOCKS, gguf

from scap_ov.sample_models.gguf_weights import llama_of


def test_the_first_blocks_keep_their_weights():
    (shape, rotary, cut), (whole_shape, whole_rotary, whole) = llama_of(gguf(BLOCKS)), llama_of(gguf())
    assert shape.layers == BLOCKS < whole_shape.layers
    assert rotary == whole_rotary
    assert cut.keys() == {name for name in whole if not name.startswith("model.layers.") or int(name.split(".")[2]) < BLOCKS}
    for name in ("model.embed_tokens.weight", "model.norm.weight", f"model.layers.{BLOCKS - 1}.mlp.down_proj.weight"):
        np.testing.assert_array_equal(cut[name], whole[name])
