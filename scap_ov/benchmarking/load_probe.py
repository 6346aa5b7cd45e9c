"""Load a model folder in a process of its own, decode a few tokens, and print load time and peak memory as JSON. Run by: decode."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

PROBE_TOKENS = 16


def peak_rss_bytes() -> int:
    """Largest resident size of this process so far. VmHWM, for ru_maxrss of a child starts at its parent's on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str]) -> None:
    """argv: folder, attention back end, extension library or an empty string."""
    from scap_ov.benchmarking.decode import generation, random_prompt
    from scap_ov.models.genai import open_pipeline

    folder, backend, library = argv
    start = time.perf_counter()
    pipeline = open_pipeline(folder, backend, library or None)
    loaded = time.perf_counter() - start
    pipeline.generate(random_prompt(0, 16), generation(PROBE_TOKENS))
    sys.stdout.write("\n" + json.dumps({"load_s": loaded, "peak_rss_bytes": peak_rss_bytes()}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
