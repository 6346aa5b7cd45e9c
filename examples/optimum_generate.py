"""Generate text from a pruned model folder with optimum-intel: one call before from_pretrained.

optimum-cli export openvino --model HuggingFaceTB/SmolLM2-1.7B-Instruct --weight-format int4 stock
scap-ov apply stock --data self --target-sparsity 0.5 --output sparse
python examples/optimum_generate.py sparse "What is the capital of France?"
"""

from __future__ import annotations

import argparse

from optimum.intel import OVModelForCausalLM
from optimum.intel.openvino import modeling_base
from transformers import AutoTokenizer

import scap_ov


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what `scap-ov apply` wrote")
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()

    scap_ov.register(modeling_base.core)  # optimum-intel reads and compiles models with this Core
    model = OVModelForCausalLM.from_pretrained(args.folder)
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    chat = [{"role": "user", "content": args.prompt}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=args.tokens, do_sample=False)
    print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    main()
