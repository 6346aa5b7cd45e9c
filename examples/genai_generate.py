"""Generate text from a pruned model folder with openvino-genai: one extra argument.

optimum-cli export openvino --model HuggingFaceTB/SmolLM2-1.7B-Instruct --weight-format int4 stock
scap-ov apply stock --data self --target-sparsity 0.5 --output sparse
python examples/genai_generate.py sparse "What is the capital of France?"
"""

from __future__ import annotations

import argparse

import openvino_genai

import scap_ov


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what `scap-ov apply` wrote; a stock folder works as well")
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()
    pipeline = openvino_genai.LLMPipeline(args.folder, "CPU", extensions=[str(scap_ov.extension_path())], INFERENCE_PRECISION_HINT="f32")

    def streamer(piece: str) -> openvino_genai.StreamingStatus:
        print(piece, end="", flush=True)
        return openvino_genai.StreamingStatus.RUNNING

    result = pipeline.generate([args.prompt], max_new_tokens=args.tokens, streamer=streamer)
    print(f"\n[{result.perf_metrics.get_throughput().mean:.1f} tokens/s]")


if __name__ == "__main__":
    main()
