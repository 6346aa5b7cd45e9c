"""Run windows of tokens through a compiled language model: in one pass, or token by token behind a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.errors import BadModelError
from scap_ov.models.inputs import Inputs
from scap_ov.models.last_product import Rows, finite, split_off
from scap_ov.models.main_output import Loss, main_output
from scap_ov.models.openvino_session import OpenVINOSession
from scap_ov.models.tensors import rebuilt


class WindowRunner:
    """One model and its request. Stateful models start every window afresh; models with past inputs are run in one pass only.

    :param model: may carry further outputs named as in `extra`.
    :param extra: names of outputs to return beside the logits, each one value per token.
    :param in_rows: `whole` gives logits that are computed as rows of them are asked for, where the model allows it.
    :raises BadModelError: the model has no logits.
    """

    def __init__(
        self,
        model: ov.Model,
        extra: Mapping[str, ov.Output] | None = None,
        properties: Mapping[str, object] | None = None,
        *,
        in_rows: bool = False,
    ) -> None:
        self._extra = list(extra or {})
        self._inputs = Inputs(model)
        logits = model.outputs[_logits_place(model)].get_node().input_value(0)
        self._last = split_off(logits, properties or {}) if in_rows else None
        first = logits if self._last is None else self._last.hidden
        built = rebuilt(model, [first, *(extra or {}).values()], "scap_ov_windows")
        self._session = OpenVINOSession(built, ["", *self._extra], properties)
        self._past = 0
        self._last_extra = np.zeros((len(self._extra), 0), np.float32)

    def whole(self, ids: np.ndarray) -> tuple[Any, np.ndarray]:
        """One pass over a window.

        :param ids: int64 [T].
        :return: logits [T, V] (valid until the next run), an array or `Rows`; extra values float32 [extras, T].
        """
        self._session.start()
        return self._infer(self._inputs.for_tokens(ids[None]), len(ids))

    def stepwise(self, ids: np.ndarray, prompt: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `prompt` tokens in one pass, the others one by one.

        :return: logits of the positions from prompt - 1 on, [T - prompt + 1, V]; extra values of the tokens after it, [extras, T - prompt].
        :raises BadModelError: the model keeps no state between tokens.
        """
        if not self._session.stateful:
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
        self._session.start()
        self._past = len(ids)
        return self._infer(self._inputs.for_tokens(ids[None]), len(ids))[0][-1:][0]

    def step(self, token: int) -> np.ndarray:
        """Read one more token. :return: its logits, [V], valid until the next run."""
        inputs = self._inputs.for_tokens(np.array([[token]], np.int64), past=self._past)
        self._past += 1
        logits, self._last_extra = self._infer(inputs, 1)
        return np.asarray(logits[-1:][0])

    def _infer(self, inputs: dict[str, np.ndarray], tokens: int) -> tuple[Rows, np.ndarray]:
        given = self._session.run(inputs)
        found = given[""]
        found = found.reshape(-1, found.shape[-1])
        if len(found) != tokens:
            msg = f"the model gives {len(found)} rows of logits for {tokens} tokens; export it without slicing the logits"
            raise BadModelError(msg)
        values = [given[name].reshape(-1) for name in self._extra]
        extra = np.array(values, np.float32) if values else np.zeros((0, tokens), np.float32)
        return finite(found) if self._last is None else self._last.of(found), extra


def _logits_place(model: ov.Model) -> int:
    try:
        main = main_output(model.outputs)
    except BadModelError:
        main = None
    if main is not None and main.width > 1:
        rank = len(model.outputs[main.places[0]].get_partial_shape())
        if main.loss is Loss.DIVERGENCE or rank == 3:
            return main.places[0]
    msg = "the model has no output 'logits'; perplexity and divergence are of language models, `scap-ov validate` compares others"
    raise BadModelError(msg)
