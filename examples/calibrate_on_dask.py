"""Calibrate a model on much text with many machines: each shard is a task of dask.distributed, and the profiles are merged as they come.

    python examples/calibrate_on_dask.py stock text.txt profile.safetensors --shards 16 --workers 4
    python examples/calibrate_on_dask.py stock text.txt profile.safetensors --shards 16 --scheduler tcp://head:8786

Needs `pip install distributed` beside scap_ov. With --scheduler, model, text and the folder of the output are on a file system that all
machines share. A shard whose worker dies runs again on another one (dask does that), and one that fails is tried again; a run that was
stopped goes on with the shards that are not there yet. The same without an engine: `scap-ov calibrate --shard 3/16` on each machine, by
whatever starts them (Slurm, Kubernetes, ssh), and `scap-ov merge`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from distributed import Client, LocalCluster, as_completed


def calibrate_shard(model: str, text: str, part: str, number: int, count: int, tokens: int, window: int) -> str:
    """One task: the profile of one shard, in a file that appears when it is complete."""
    import scap_ov
    from scap_ov.calibration.split import Shard
    from scap_ov.models.dataset import text_dataset
    from scap_ov.storage.model_folder import read_model

    if not Path(part).is_file():
        opened = read_model(model)
        data = text_dataset(Path(text), model, opened, seq_len=window, max_tokens=tokens)
        scap_ov.calibrate(opened, Shard(data, number, count)).save(part)
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of the stock model, with its tokenizer")
    parser.add_argument("text", help="a text file")
    parser.add_argument("output", help="the profile; those of the shards are kept beside it until it is written")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=262_144, help="of all shards")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine, where no scheduler is given")
    parser.add_argument("--scheduler", help="address of a dask scheduler")
    args = parser.parse_args()

    from scap_ov.statistics.profile import CalibrationProfile

    # One task at a time in each process: OpenVINO uses all cores by itself.
    cluster = args.scheduler or LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=None)
    parts = [f"{Path(args.output).absolute()}.part-{number}-of-{args.shards}" for number in range(1, args.shards + 1)]
    with Client(cluster) as client:
        given = (str(Path(args.model).absolute()), str(Path(args.text).absolute()))
        tasks = [
            client.submit(calibrate_shard, *given, part, number, args.shards, args.tokens, args.window, retries=2, pure=False)
            for number, part in enumerate(parts, 1)
        ]
        merged = None
        for done, (_, part) in enumerate(as_completed(tasks, with_results=True), 1):
            profile = CalibrationProfile.load(part)
            merged = profile if merged is None else merged.merge(profile)
            print(f"{done} of {args.shards} shards, {merged.metadata['tokens']} tokens", flush=True)
        merged.save(args.output)
    if not args.scheduler:
        cluster.close()
    for part in parts:
        Path(part).unlink(missing_ok=True)
    print(f"{args.output}: {merged.metadata['samples']} samples, {merged.metadata['tokens']} tokens")


if __name__ == "__main__":
    main()
