"""Export a Mamba 2 model of transformers to OpenVINO with its state, which optimum-intel 2.2 has no export for.

python examples/export_mamba2.py AntonV/mamba2-130m-hf stock
scap-ov apply stock --data text.txt --target-sparsity 0.4 --output sparse

The scan of transformers is cut into chunks whose number a trace bakes in. Here it is one chunk of whatever length arrives, the masked
attention form of the state space duality (Dao and Gu, arXiv 2405.21060, section 3): y = (L ∘ C Bᵀ) x with L[t, s] = exp(Σ a over s … t),
and behind it the state that the tokens before have left. A prompt takes memory by the square of its length, a token of decoding none.

A block keeps two states, the last columns of its convolution and the state of its scan. They are variables of the model, taken in the order
of `beam_idx`, as those of decoders with attention are; padding on the left is told by `attention_mask`. openvino-genai decodes it with
ATTENTION_BACKEND=SDPA; with paged attention it finds no attention to page. optimum-intel has no class for it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer


@dataclass
class Step:
    """What one call hands to every block in place of a cache, and what the blocks leave for the next call.

    :param mask: of the tokens of this call, [B, T]; 0 for padding.
    :param past: of each block the state of its convolution, [B, C, W - 1], and of its scan, [B, H, P, N].
    """

    mask: torch.Tensor
    past: list[tuple[torch.Tensor, torch.Tensor]]
    left: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


def scan(
    x: torch.Tensor, dt: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The state space layer over a sequence, without a skip connection.

    :param x: inputs [B, T, H, P].
    :param dt: time steps [B, T, H]; 0: the token is not there.
    :param a: decay rates [H], negative.
    :param b: into the state, [B, T, H, N].
    :param c: out of it, [B, T, H, N].
    :param state: that the tokens before have left, [B, H, P, N].
    :return: [B, T, H, P], and the state that these leave.
    """
    total = torch.cumsum((dt * a).transpose(1, 2), dim=-1)  # [B, H, T]
    time = torch.arange(x.shape[1])
    past = time[:, None] >= time[None, :]
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~past, float("-inf")).exp()
    b, c, x = b.transpose(1, 2), c.transpose(1, 2), (x * dt[..., None]).transpose(1, 2)  # [B, H, T, ...]
    y = (decay * (c @ b.transpose(2, 3))) @ x + total.exp()[..., None] * (c @ state.transpose(2, 3))
    rest = total[..., -1:] - total  # until the last token
    left = total[..., -1:, None].exp() * state + (x * rest.exp()[..., None]).transpose(2, 3) @ b
    return y.transpose(1, 2), left


def mixer(self: Any, hidden_states: torch.Tensor, cache_params: Step, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """In place of Mamba2Mixer.torch_forward: one chunk, from the states before it."""
    del attention_mask
    mask, (columns, state) = cache_params.mask, cache_params.past[self.layer_idx]
    batch, length, _ = hidden_states.shape
    projected = self.in_proj(hidden_states)
    extra = projected.shape[-1] - 2 * self.intermediate_size - 2 * self.n_groups * self.ssm_state_size - self.num_heads
    sizes = [extra, self.intermediate_size, self.conv_dim, self.num_heads]  # of what older checkpoints have before the gate, mostly 0
    _, gate, mixed, dt = projected.split(sizes, dim=-1)
    mixed = torch.cat([columns, (mixed * mask[..., None]).transpose(1, 2)], dim=-1)
    columns = mixed[..., length:]
    mixed = self.act(torch.nn.functional.conv1d(mixed, self.conv1d.weight, self.conv1d.bias, groups=self.conv_dim).transpose(1, 2))
    size = self.n_groups * self.ssm_state_size
    x, b, c = mixed.split([self.intermediate_size, size, size], dim=-1)
    x = x.reshape(batch, length, self.num_heads, self.head_dim).float()
    b, c = (v.reshape(batch, length, self.n_groups, self.ssm_state_size).float() for v in (b, c))
    b, c = (v.repeat_interleave(self.num_heads // self.n_groups, dim=2) for v in (b, c))
    dt = torch.clamp(torch.nn.functional.softplus(dt + self.dt_bias), self.time_step_limit[0], self.time_step_limit[1]) * mask[..., None]
    y, state = scan(x, dt, -torch.exp(self.A_log.float()), b, c, state)
    cache_params.left.append((columns, state))
    y = y + self.D[:, None] * x
    return self.out_proj(self.norm(y.reshape(batch, length, self.intermediate_size), gate).to(hidden_states.dtype))


class Decoder(torch.nn.Module):
    """input_ids [B, T], attention_mask [B, past + T], beam_idx [B], states -> logits [B, T, V], states."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, beams: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of every position."""
        ordered = [state.index_select(0, beams) for state in states]
        step = Step(mask[:, -ids.shape[1] :].float(), list(zip(ordered[::2], ordered[1::2], strict=True)))
        logits = self.model(input_ids=ids, cache_params=step, use_cache=False).logits
        return logits, *(state for pair in step.left for state in pair)


def export(model: torch.nn.Module) -> ov.Model:
    """The OpenVINO model of a Mamba2ForCausalLM, with inputs of any batch and length, and with its states as variables."""
    shapes: list[tuple[int, ...]] = []
    for block in model.backbone.layers:
        m = block.mixer
        shapes += [(m.conv_dim, m.conv_kernel_size - 1), (m.num_heads, m.head_dim, m.ssm_state_size)]
    ids = torch.arange(14).reshape(2, 7)
    example = (ids, torch.ones(2, 9, dtype=torch.int64), torch.arange(2), *(torch.zeros(2, *shape) for shape in shapes))
    original = Mamba2Mixer.torch_forward
    Mamba2Mixer.torch_forward = mixer
    try:
        with torch.no_grad():
            converted = ov.convert_model(Decoder(model.float().eval()), example_input=example)
    finally:
        Mamba2Mixer.torch_forward = original
    any_batch = {port: ov.PartialShape([-1, *shape]) for port, shape in zip(converted.inputs[3:], shapes, strict=True)}
    converted.reshape({converted.input(0): [-1, -1], converted.input(1): [-1, -1], converted.input(2): [-1]} | any_batch)
    return with_variables(converted)


def with_variables(model: ov.Model) -> ov.Model:
    """The states, which are inputs behind the third and outputs behind the first, as variables that begin with zeros."""
    inputs, results = model.get_parameters(), model.get_results()
    for port, name in zip(model.inputs, ("input_ids", "attention_mask", "beam_idx"), strict=False):
        port.get_tensor().set_names({name})
    model.output(0).get_tensor().set_names({"logits"})
    inputs[2].set_element_type(ov.Type.i32)  # as openvino-genai gives it
    rows = ops.gather(ops.shape_of(inputs[0]), ops.constant(np.array([0])), ops.constant(0))
    assigns = []
    for number, (given, left) in enumerate(zip(inputs[3:], results[1:], strict=True)):
        info = ov.op.util.VariableInfo()
        info.data_shape, info.data_type, info.variable_id = given.get_partial_shape(), ov.Type.f32, f"state.{number}"
        variable = ov.op.util.Variable(info)
        sizes = np.array([size.get_length() for size in list(given.get_partial_shape())[1:]])
        zeros = ops.broadcast(ops.constant(np.float32(0)), ops.concat([rows, sizes], 0))
        given.output(0).replace(ops.read_value(zeros, variable).output(0))
        assigns.append(ops.assign(left.input_value(0).get_node(), variable))
    return ov.Model(results[:1], assigns, inputs[:3], "mamba2")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="name or folder for transformers")
    parser.add_argument("folder", type=Path, help="to write")
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.model)
    args.folder.mkdir(parents=True)
    ov.save_model(export(model), args.folder / "openvino_model.xml", compress_to_fp16=False)
    model.config.save_pretrained(args.folder)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.save_pretrained(args.folder)


if __name__ == "__main__":
    main()
