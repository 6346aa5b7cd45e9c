"""Run windows of tokens through a compiled language model: in one pass, or token by token behind a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.errors import BadDatasetError, BadModelError
from scap_ov.models.dataset import model_inputs


class WindowRunner:
    """One model and its request. Stateful models start every window afresh; models with past inputs are run in one pass only.

    :param model: may carry further outputs named as in `extra`.
    :param extra: names of outputs to return beside the logits, each one value per token.
    :raises BadModelError: the model has no logits.
    """

    def __init__(self, model: ov.Model, extra: Mapping[str, ov.Output] | None = None, properties: Mapping[str, Any] | None = None) -> None:
        self._extra = list(extra or {})
        if extra:
            model.add_outputs(list(extra.values()))
        self._logits = _logits_index(model)
        self._compiled = ov.Core().compile_model(model, "CPU", dict(properties or {}))
        self._request = self._compiled.create_infer_request()
        self._first_extra = len(model.outputs) - len(self._extra)
        self._stateful = bool(model.get_sinks())
        self._past = 0
        self._last_extra = np.zeros((len(self._extra), 0), np.float32)

    def whole(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One pass over a window.

        :param ids: int64 [T].
        :return: logits [T, V] (valid until the next run), extra values float32 [extras, T].
        """
        self._restart()
        return self._infer(model_inputs(self._compiled, ids[None]), len(ids))

    def stepwise(self, ids: np.ndarray, prompt: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `prompt` tokens in one pass, the others one by one.

        :return: logits of the positions from prompt - 1 on, [T - prompt + 1, V]; extra values of the tokens after it, [extras, T - prompt].
        :raises BadModelError: the model keeps no state between tokens.
        """
        if not self._stateful:
            msg = "decode-only evaluation needs a stateful model; export with past (task text-generation-with-past) or use --rows all"
            raise BadModelError(msg)
        logits, extras = [self.start(ids[:prompt]).copy()], []
        for token in ids[prompt:].tolist():
            logits.append(self.step(token).copy())
            extras.append(self._last_extra)
        return np.stack(logits), np.concatenate(extras, axis=1) if extras else np.zeros((len(self._extra), 0), np.float32)

    def start(self, ids: np.ndarray) -> np.ndarray:
        """Forget what was before and read a prompt.

        :param ids: int64 [T].
        :return: logits of its last token, [V], valid until the next run.
        """
        self._restart()
        self._past = len(ids)
        return self._infer(model_inputs(self._compiled, ids[None]), len(ids))[0][-1]

    def step(self, token: int) -> np.ndarray:
        """Read one more token. :return: its logits, [V], valid until the next run."""
        inputs = model_inputs(self._compiled, np.array([[token]], np.int64))
        if "attention_mask" in inputs:
            inputs["attention_mask"] = np.ones((1, self._past + 1), inputs["attention_mask"].dtype)
        if "position_ids" in inputs:
            inputs["position_ids"] = np.full_like(inputs["position_ids"], self._past)
        self._past += 1
        logits, self._last_extra = self._infer(inputs, 1)
        return logits[-1]

    def _restart(self) -> None:
        if self._stateful:
            self._request.reset_state()

    def _infer(self, inputs: dict[str, np.ndarray], tokens: int) -> tuple[np.ndarray, np.ndarray]:
        self._request.infer(inputs)
        logits = self._request.get_output_tensor(self._logits).data
        logits = logits.reshape(-1, logits.shape[-1])
        if len(logits) != tokens:
            msg = f"the model gives {len(logits)} rows of logits for {tokens} tokens; export it without slicing the logits"
            raise BadModelError(msg)
        if not np.isfinite(logits[-1]).all():
            msg = "the model's logits hold NaN or infinite values; check its weights and inference precision"
            raise BadDatasetError(msg)
        values = [self._request.get_output_tensor(self._first_extra + i).data.reshape(-1) for i in range(len(self._extra))]
        extra = np.array(values, np.float32) if values else np.zeros((0, tokens), np.float32)
        return logits, extra


def _logits_index(model: ov.Model) -> int:
    for i, port in enumerate(model.outputs):
        if "logits" in port.get_names():
            return i
    if model.outputs and model.outputs[0].get_partial_shape().rank.is_static and len(model.outputs[0].get_partial_shape()) == 3:
        return 0
    msg = "the model has no output 'logits'; perplexity and divergence are of language models, `scap-ov validate` compares others"
    raise BadModelError(msg)
