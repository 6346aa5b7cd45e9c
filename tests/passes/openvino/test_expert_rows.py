"""What is given out of the inside of routed experts belongs to the experts that tokens use."""

from __future__ import annotations

import numpy as np
import openvino as ov
from expert_blocks import experts_model, tokens

from scap_ov.passes.openvino.expert_rows import chosen_rows
from scap_ov.passes.openvino.match_experts import match_experts


def test_rows_of_the_chosen_experts_in_the_order_of_the_choice():
    built = experts_model("f32", experts=5, used=3)
    (block,) = match_experts(built.model.get_ordered_ops())[0]
    tapped = ov.Model([chosen_rows(block, block.hidden)], built.model.get_parameters(), "tapped")
    inputs = tokens(2, 3, experts=5)
    rows = ov.Core().compile_model(tapped, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)[0]
    np.testing.assert_allclose(rows, built.answer(*inputs)[1], rtol=1e-4, atol=1e-5)
