"""Run a stateful language model over a prompt and three decode steps, exactly. Imported by tests, and by the processes that they start."""

from __future__ import annotations

import numpy as np

from scap_ov.models.dataset import model_inputs

# Exact arithmetic on both sides, so that logits and greedy text can be compared.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}


def run_steps(compiled, ids):
    """Logits of a prompt and of the decode steps after it.

    :param ids: int64 [1, T]; the last three are decoded one by one.
    :return: float32 [T, vocabulary].
    """
    request = compiled.create_infer_request()
    rows, past = [], 0
    for part in (ids[:, :-3], ids[:, -3:-2], ids[:, -2:-1], ids[:, -1:]):
        inputs = model_inputs(compiled, part)
        inputs["attention_mask"] = np.ones((1, past + part.shape[1]), np.int64)
        if "position_ids" in inputs:  # not of state space models
            inputs["position_ids"] = np.arange(past, past + part.shape[1], dtype=np.int64)[None]
        rows.append(np.array(request.infer(inputs)["logits"][0]))
        past += part.shape[1]
    return np.concatenate(rows)
