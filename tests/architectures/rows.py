"""The registry: a small configuration with random weights for every architecture, and the sites that are expected in its export.

One `Row` is one line of the table in docs/coverage.md. export_rows.py makes the exports, test_architectures.py checks them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MODEL = "openvino_model.xml"
BLOCKS = (0, 1)


@dataclass(frozen=True)
class Row:
    """One architecture.

    :param name: of the row, and of the folder of its export.
    :param title: what docs/coverage.md says.
    :param config: class of transformers, and its arguments.
    :param model: class of transformers that is made from it.
    :param task: of optimum's exporter; empty: the torch module goes through ov.convert_model (export_rows.convert).
    :param weights: what NNCF makes of the float export: f32, f16, int8 or int4 (groups of 32, zero points).
    :param sites: file -> site -> layers.
    :param stock: file -> part of a layer's name -> part of the reason why it stays stock.
    :param refused: what the exporter says to it, where it refuses; the row is then a "no, because" with `note`.
    :param transformers: release that the export needs where the newest is refused, as pip wants it.
    :param example: script of examples/ that teaches optimum-intel to export it.
    :param note: a remark for the table.
    """

    name: str
    title: str
    config: str
    options: dict
    model: str
    task: str
    sites: dict[str, dict[str, list[str]]]
    weights: str = "int4"
    stock: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: str = ""
    transformers: str = ""
    example: str = ""
    note: str = ""

    @property
    def remark(self) -> str:
        """What the table says beside the results."""
        return f"no, because {self.note}" if self.refused else self.note

    @property
    def files(self) -> list[str]:
        """Models of the export."""
        return list(self.sites)

    def policy(self, file: str) -> str:
        """Rows that the checks prune: encoders compute many at once, which `decode` would leave dense."""
        return "decode" if "-with-past" in self.task and "encoder_model" not in file else "all"


def blocks(prefix: str, head: str = "", **layers: str) -> dict[str, list[str]]:
    """Sites of both blocks.

    :param prefix: of a layer's name, with {b} for the block.
    :param head: the output projection.
    :param layers: kind -> names of the layers, separated by blanks; `qkv_2` stands for the site `qkv.2`.
    """
    sites = {
        f"block.{b}.{numbered(kind)}": sorted(prefix.format(b=b) + name for name in names.split())
        for b in BLOCKS
        for kind, names in layers.items()
    }
    return sites | ({"lm_head": [head]} if head else {})


def numbered(kind: str) -> str:
    """`qkv_2` -> `qkv.2`; `expert_up` stays."""
    return re.sub(r"_(\d)$", r".\1", kind)


SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 256, "num_attention_heads": 4}
TEXT = SIZES | {"max_position_embeddings": 128, "intermediate_size": 128}
GROUPED = TEXT | {"num_key_value_heads": 2}
VISION = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 32, "patch_size": 8}
GATED = {"qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj", "o": "self_attn.o_proj",
         "up": "mlp.gate_proj mlp.up_proj", "down": "mlp.down_proj"}  # fmt: skip
ATTENTION = {kind: GATED[kind] for kind in ("qkv", "o")}
LAYERS = "model.layers.{b}."
ROUTED = {"expert_up": "mlp.experts mlp.experts", "expert_down": "mlp.experts"}  # gate and up, down; the products have one name
ROUTER = {"mlp.gate/": "it routes tokens to experts"}


def decoder(name: str, title: str, config: str, options: dict, sites: dict[str, list[str]], **more) -> Row:
    """A decoder with past."""
    return Row(name, title, config, options, "AutoModelForCausalLM", "text-generation-with-past", {MODEL: sites}, **more)


def encoder(name: str, title: str, config: str, options: dict, sites: dict[str, list[str]], **more) -> Row:
    """One pass over all positions."""
    model, task = more.pop("model", "AutoModel"), more.pop("task", "feature-extraction")
    return Row(name, title, config, options, model, task, {MODEL: sites}, **more)


def moe(name: str, title: str, config: str, options: dict, sites: dict[str, list[str]], **more) -> Row:
    """A decoder with routed experts."""
    return decoder(name, title, config, options, sites, **{"stock": {MODEL: ROUTER}, **more})


_BERT = blocks("encoder.layer.{b}.", qkv="attention.self.query attention.self.key attention.self.value", o="attention.output.dense",
               up="intermediate.dense", down="output.dense")  # fmt: skip
_FC = {"qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj", "o": "self_attn.out_proj", "up": "fc1", "down": "fc2"}
_VIT = {"qkv": "attention.attention.query attention.attention.key attention.attention.value", "o": "attention.output.dense",
        "up": "intermediate.dense", "down": "output.dense"}  # fmt: skip
_WHY_ONCE = "keys and values of the encoder's output stay stock: they are computed once, for all positions"
_T5_SELF = "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v"
_WHISPER = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
            "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 256, "max_target_positions": 64, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "suppress_tokens": None,
            "begin_suppress_tokens": None}  # fmt: skip

DECODERS = [
    decoder("llama", "Llama (SwiGLU, grouped attention)", "LlamaConfig", GROUPED, blocks(LAYERS, "lm_head", **GATED)),
    Row("llama_without_past", "Llama without past (--task text-generation)", "LlamaConfig", GROUPED, "AutoModelForCausalLM",
        "text-generation", {MODEL: blocks(LAYERS, "lm_head", **GATED)}),
    decoder("mistral", "Mistral", "MistralConfig", GROUPED | {"sliding_window": None}, blocks(LAYERS, "lm_head", **GATED)),
    decoder("qwen2", "Qwen2, Qwen2.5 (biases in q, k, v)", "Qwen2Config", GROUPED, blocks(LAYERS, "lm_head", **GATED)),
    decoder("qwen3", "Qwen3 (norms of q and k)", "Qwen3Config", GROUPED | {"head_dim": 16}, blocks(LAYERS, "lm_head", **GATED)),
    decoder("gemma2", "Gemma 2 (GeGLU, post-norms, soft-capping)", "Gemma2Config", GROUPED | {"head_dim": 16},
            blocks(LAYERS, "lm_head", **GATED), transformers="transformers==5.0.*"),
    decoder("gemma3", "Gemma 3 (GeGLU, norms of q and k)", "Gemma3TextConfig", GROUPED | {"head_dim": 16},
            blocks(LAYERS, "lm_head", **GATED), transformers="transformers==5.0.*"),
    decoder("phi3", "Phi-3 (fused qkv and gate_up)", "Phi3Config", GROUPED | {"pad_token_id": 0},
            blocks(LAYERS, "lm_head", qkv="self_attn.qkv_proj", o="self_attn.o_proj", up="mlp.gate_up_proj", down="mlp.down_proj")),
    decoder("gpt2", "GPT-2 (GELU, Conv1D)", "GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 256, "n_positions": 128},
            blocks("transformer.h.{b}.", "lm_head", qkv="attn.c_attn", o="attn.c_proj", up="mlp.c_fc", down="mlp.c_proj")),
    decoder("gpt_neox", "GPT-NeoX (attention and FFN side by side, a norm each)", "GPTNeoXConfig", TEXT,
            blocks("gpt_neox.layers.{b}.", "embed_out", qkv="attention.query_key_value", o="attention.dense", up="mlp.dense_h_to_4h",
                   down="mlp.dense_4h_to_h")),
    decoder("opt", "OPT (ReLU)", "OPTConfig", SIZES | {"max_position_embeddings": 128, "ffn_dim": 128, "word_embed_proj_dim": 64},
            blocks("model.decoder.layers.{b}.", "lm_head", **_FC),
            note="a threshold of 0 drops the exact zeros of ReLU and loses nothing; a profile's rows tell how many there are"),
    decoder("falcon", "Falcon (GELU, attention and FFN share their input)", "FalconConfig", SIZES | {"max_position_embeddings": 128},
            blocks("transformer.h.{b}.", "lm_head", qkv="self_attention.query_key_value mlp.dense_h_to_4h", o="self_attention.dense",
                   down="mlp.dense_4h_to_h")),
    decoder("mpt", "MPT (GELU, ALiBi)", "MptConfig", {"d_model": 64, "n_heads": 4, "n_layers": 2, "vocab_size": 256, "max_seq_len": 128},
            blocks("transformer.blocks.{b}.", "lm_head", qkv="attn.Wqkv", o="attn.out_proj", up="ffn.up_proj", down="ffn.down_proj")),
    decoder("starcoder2", "StarCoder2 (GELU, biases)", "Starcoder2Config", GROUPED,
            blocks(LAYERS, "lm_head", **(GATED | {"up": "mlp.c_fc", "down": "mlp.c_proj"}))),
]  # fmt: skip

MIXTURES = [
    moe("mixtral", "Mixtral", "MixtralConfig", GROUPED | {"num_local_experts": 4}, blocks(LAYERS, "lm_head", **ATTENTION, **ROUTED),
        weights="int8"),
    moe("qwen2_moe", "Qwen2-MoE (with a shared expert)", "Qwen2MoeConfig",
        GROUPED | {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2},
        blocks(LAYERS, "lm_head", **ATTENTION, **ROUTED, up="mlp.shared_expert_gate mlp.shared_expert.gate_proj mlp.shared_expert.up_proj",
               down="mlp.shared_expert.down_proj")),
    moe("qwen3_moe", "Qwen3-MoE", "Qwen3MoeConfig",
        GROUPED | {"head_dim": 16, "moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2},
        blocks(LAYERS, "lm_head", **ATTENTION, **ROUTED)),
    moe("gpt_oss", "gpt-oss (gate and up as one, biases, clamped)", "GptOssConfig",
        GROUPED | {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 32, "rope_scaling": None,
                   "layer_types": ["full_attention", "sliding_attention"]},
        blocks(LAYERS, "lm_head", **ATTENTION, expert_up="mlp.experts", expert_down="mlp.experts"),
        stock={MODEL: {"mlp.router/": "it routes tokens to experts"}}),
    moe("phimoe", "Phi-3.5-MoE (two experts, chosen one after the other)", "PhimoeConfig",
        GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 0},
        blocks(LAYERS, "lm_head", **ATTENTION, **ROUTED), weights="int8", stock={MODEL: {"mlp.router/": "it routes tokens to experts"}}),
    decoder("deepseek_v3", "DeepSeek-V3 (V2 likewise)", "DeepseekV3Config",
            GROUPED | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_group": 1, "topk_group": 1,
                       "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
                       "v_head_dim": 16}, {},
            refused="does not allow for the export of the model. Maximum required is 4.53.3",
            note="optimum-intel 2.2 exports it with transformers up to 4.53.3 only, and there from the code that comes with a checkpoint: "
                 "transformers' own DeepSeek-V3 fails on 4.53.3 too (its attention is given cache_position, which the exporter's has not)"),
    moe("olmoe", "OLMoE", "OlmoeConfig", GROUPED | {"num_experts": 4, "num_experts_per_tok": 2},
        blocks(LAYERS, "lm_head", **ATTENTION, **ROUTED), example="export_olmoe",
        note="optimum-intel has no export for it; examples/export_olmoe.py has"),
]  # fmt: skip

STATE_SPACE = [
    decoder("mamba", "Mamba", "MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 256, "state_size": 8},
            blocks("backbone.layers.{b}.mixer.", "aten::to/Convert_1", up="in_proj", up_2="dt_proj", down="x_proj", down_2="out_proj"),
            transformers="transformers==5.0.*", weights="int8"),
    decoder("mamba2", "Mamba 2", "Mamba2Config", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 256, "state_size": 16,
                                                  "num_heads": 8, "head_dim": 16, "n_groups": 2, "chunk_size": 8}, {},
            refused="Trying to export a mamba2 model, that is a custom or unsupported architecture",
            note="optimum-intel has no export for it; examples/export_mamba2.py has one with its states as variables, whose in_proj and "
                 "out_proj are sites, exact at 0 % and pruned; token by token it gives what the whole text gives, and openvino-genai "
                 "decodes it with ATTENTION_BACKEND SDPA (paged attention finds no attention to page; optimum-intel has no class for it)"),
]  # fmt: skip

ENCODERS = [
    encoder("bert", "BERT (MiniLM and its like)", "BertConfig", TEXT, _BERT, weights="int8"),
    encoder("roberta", "RoBERTa", "RobertaConfig", TEXT, _BERT, weights="int8"),
    encoder("vit", "ViT", "ViTConfig", VISION | {"num_labels": 10}, blocks("vit.encoder.layer.{b}.", "classifier", **_VIT),
            model="AutoModelForImageClassification", task="image-classification", weights="f16",
            note="its classifier is the output projection"),
    encoder("deit", "DeiT", "DeiTConfig", VISION | {"num_labels": 10}, blocks("deit.encoder.layer.{b}.", "classifier", **_VIT),
            model="DeiTForImageClassification", task="image-classification", weights="f32"),
    encoder("clip_vision", "CLIP, vision tower", "CLIPVisionConfig", VISION, blocks("vision_model.encoder.layers.{b}.",
            **(_FC | {"up": "mlp.fc1", "down": "mlp.fc2"})), weights="int8"),
]  # fmt: skip

_ONCE = "it computes an initial state"
ENCODER_DECODERS = [
    Row("t5", "T5", "T5Config", {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 256,
                                 "decoder_start_token_id": 0}, "AutoModelForSeq2SeqLM", "text2text-generation-with-past", {
        "openvino_encoder_model.xml": blocks(
            "block.{b}.", qkv=_T5_SELF, o="layer.0.SelfAttention.o", up="layer.1.DenseReluDense.wi", down="layer.1.DenseReluDense.wo"),
        "openvino_decoder_model.xml": blocks(
            "decoder.block.{b}.", "lm_head", qkv=_T5_SELF, qkv_2="layer.1.EncDecAttention.q", o="layer.0.SelfAttention.o",
            o_2="layer.1.EncDecAttention.o", up="layer.2.DenseReluDense.wi", down="layer.2.DenseReluDense.wo"),
    }, weights="int8", stock={"openvino_decoder_model.xml": {"EncDecAttention.k": _ONCE, "EncDecAttention.v": _ONCE}}, note=_WHY_ONCE),
    Row("whisper", "Whisper", "WhisperConfig", _WHISPER, "AutoModelForSpeechSeq2Seq", "automatic-speech-recognition-with-past", {
        "openvino_encoder_model.xml": blocks("layers.{b}.", **_FC),
        "openvino_decoder_model.xml": blocks("model.decoder.layers.{b}.", "proj_out", **_FC, qkv_2="encoder_attn.q_proj",
                                             o_2="encoder_attn.out_proj"),
    }, weights="int8", stock={"openvino_decoder_model.xml": {"encoder_attn.k_proj": _ONCE, "encoder_attn.v_proj": _ONCE}}, note=_WHY_ONCE),
]  # fmt: skip

FAMILIES = {"Decoders": DECODERS, "Mixtures of experts": MIXTURES, "State space": STATE_SPACE, "Encoders and vision": ENCODERS,
            "Encoder-decoders": ENCODER_DECODERS}  # fmt: skip
ROWS = {row.name: row for rows in FAMILIES.values() for row in rows}
