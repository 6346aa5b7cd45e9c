"""Install the wheel under other Pythons, each in an environment of its own, and run tests there.

python .ci/pythons.py WHEEL [VERSION ...]    # default: 3.10 3.12 3.13; an interpreter that is not on the PATH is told and left out
"""

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

TESTS = (
    "tests/test_public_api.py", "tests/test_golden.py", "tests/passes/onnx/test_insert_sparsity.py", "tests/scap_ov/test_dial.py",
    "tests/passes/openvino/test_half_reads.py",
)  # fmt: skip


def one(wheel: Path, version: str) -> bool:
    """Whether the tests pass; False where one fails."""
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        print(f"Python {version}: not on this machine", flush=True)
        return True
    with tempfile.TemporaryDirectory(prefix="pythons-") as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        own = f"{folder}/bin/python"
        subprocess.run(
            [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"scap_ov[genai,onnx,report] @ file://{wheel.resolve()}",
             "pytest", "hypothesis", "tokenizers"], check=True)  # fmt: skip
        done = subprocess.run([own, "-Im", "pytest", "-q", "-p", "no:cacheprovider", *TESTS], capture_output=True, text=True, check=False)
        told = (done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]])[-1]
        release = subprocess.run([own, "-V"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"{release}: {told}", flush=True)
        if done.returncode:
            print(done.stdout[-3000:], flush=True)
    return not done.returncode


def main() -> int:
    """1 where a test failed."""
    wheel = Path(sys.argv[1])
    return int(not all(map(partial(one, wheel), sys.argv[2:] or ["3.10", "3.12", "3.13"])))


if __name__ == "__main__":
    sys.exit(main())
