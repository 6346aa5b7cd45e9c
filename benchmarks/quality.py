"""What reading less costs in quality: methods, shares and weight forms on a model; writes docs/quality.md and its plot.

    make quality                                                                     # on Python's own documentation
    make quality QUALITY_TEXT=wiki.txt QUALITY_TITLE="WikiText-2"
    python benchmarks/quality.py --forms f16 --methods adaptive,scap --sparsities 0.5 --tokens 1024     # a short look

Calibrates on the first half of the text and measures on the second. Results are kept in the JSON file after every point, and a run that
is repeated goes on from there; `--only-speed` fills in the speeds, on an idle machine. Times that are told are processor time.
Folders f16, i8 and i4 in the work folder are used as they are (what optimum-cli exported, say: another model in a work folder of its
own, with --name and --page); else they are made from what openvino-genai reads out of the demo's GGUF file. All three must be of one
source: genai rounds the zero points of Q4_1, and dense models of the two sources differ by a KL of 0.3.
Every row but the first of a window is pruned; KL is against the dense f16 model whatever the weight form.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from minilm import ranking
from quality_deployed import Deployed, speedup
from quality_evaluation import WINDOW, Evaluation, everything_documented
from quality_options import options
from quality_page import write_page
from quality_rivals import bytes_of, quantised
from quality_tasks import answer

from scap_ov import api
from scap_ov.calibration.drift import measure_drift
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.refine import refine
from scap_ov.config import SparsityConfig
from scap_ov.evaluation.evaluate import evaluate
from scap_ov.fitting.fit import fit
from scap_ov.models.dataset import self_dataset, text_dataset
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.sample_models.real_weights import write_in_form
from scap_ov.sample_models.sample_text import documentation
from scap_ov.sample_models.source import stock_model
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.storage.model_folder import read_model
from scap_ov.tuning.compensation import fit_compensation

COMPENSATION_TOKENS = 16_384  # read once; a second time fits the noise of these tokens
FFN_SHARE = 1 / 3  # of the FFN's weights: CATS with half of its gates


class Run:
    """The measurements of one invocation, kept in a JSON file."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.path = Path(args.json)
        self.kept: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        text = Path(args.text).read_text(encoding="utf-8") if args.text else everything_documented()
        self.other = documentation(60_000) if args.text else Path(argparse.__file__).read_text(encoding="utf-8")
        middle = text.index("\n", len(text) // 2)
        self.fitted, self.unseen = text[:middle], text[middle:]
        self.evaluations: dict[str, Evaluation] = {}
        self._deployed: Deployed | None = None
        other = "Python's documentation" if args.text else "Python's sources"
        self.keep("about", {"machine": machine(), "text": args.title, "other": other, "tokens": args.tokens, "source": args.source,
                            "model": args.name, "calibration_tokens": args.calibration_tokens})  # fmt: skip

    def keep(self, key: str, value: Any) -> None:
        """Note a result."""
        self.kept[key] = value
        self.path.write_text(json.dumps(self.kept, indent=1), encoding="utf-8")

    def form(self, form: str) -> None:
        """All points of one weight form."""
        folder = self.folder(form)
        extras = [f"{form} sequential 0.5"] * (form == "f16" and self.args.sequential)
        wanted = [*extras, f"{form} dense", *(f"{form} {method} {s:g}" for method, s in self.points(form))]
        if all(key in self.kept for key in wanted):
            return
        probe = ProbeModel(read_model(folder), measure=True, graded=form == "i8")
        unseen = self.evaluation(probe, "unseen", self.unseen, form)
        self.point(f"{form} dense", lambda: unseen.measure(probe, None))
        profile = self.profile(form, folder)
        for method, sparsity in self.points(form):
            key = f"{form} {method} {sparsity:g}"
            if key not in self.kept:
                self.point(key, lambda m=method, s=sparsity: self.one(form, folder, probe, profile, unseen, m, s))
        if extras and extras[0] not in self.kept:
            self.point(extras[0], lambda: unseen.measure(probe, fit(self.sequential(probe.stock, folder, profile), SparsityConfig())))

    def sequential(self, model: Any, folder: Path, profile: CalibrationProfile) -> CalibrationProfile:
        """What `calibrate --sequential` adds to a profile."""
        data = self.data(folder, self.args.calibration_tokens, WINDOW)
        behind, _ = refine(model, data, profile, fit(profile, SparsityConfig()), rounds=1)
        return measure_drift(model, data, behind)

    def one(
        self, form: str, folder: Path, probe: ProbeModel, profile: CalibrationProfile, unseen: Evaluation, method: str, sparsity: float
    ) -> dict[str, Any]:
        """Fit and measure."""
        name, _, extra = method.partition("+")
        scope = "ffn" if extra == "ffn" else "all"
        config = SparsityConfig(target_sparsity=sparsity, method=name, scope=scope, rows="all", drift_correction=extra != "one-shot")
        if name == "cats":  # a rewrite of its own: not what a probe can do
            return self.rewritten(folder, profile, config)
        plan = fit(profile, config)
        if extra == "compensation":
            started = time.process_time()
            plan = fit_compensation(probe.stock, self.data(folder, COMPENSATION_TOKENS, WINDOW), profile, plan, steps=self.args.steps)
            self.keep(f"{form} compensation {sparsity:g}", {**plan.notes["compensation"], "seconds": time.process_time() - started})
        return unseen.measure(probe, plan)

    def rewritten(self, folder: Path, profile: CalibrationProfile, config: SparsityConfig) -> dict[str, Any]:
        """Measure through the rewritten model."""
        windows = [np.asarray(p.inputs["input_ids"]).reshape(-1) for p in self.evaluations["unseen"].pieces]
        found = evaluate(api.apply(folder, profile, config, form="portable"), folder, windows, rows="all")
        return {"kl": found.kl_divergence, "perplexity": found.perplexity, "top1": found.top1_agreement, "sparsity": found.sparsity,
                "bytes": found.weight_bytes_per_token}  # fmt: skip

    def other_text(self, form: str) -> None:
        """The same plans on another domain, and plans from text that the model wrote itself."""
        ours = "graded" if form == "i8" else "adaptive"
        own = form == "f16" and self.args.self
        keys = [f"{form} {m} 0.5 other" for m in (ours, "scap")] + ["f16 self 0.5"] * own
        if all(key in self.kept for key in keys):
            return
        folder = self.folder(form)
        probe = ProbeModel(read_model(folder), measure=True, graded=form == "i8")
        profile = self.profile(form, folder)
        other = self.evaluation(probe, "other", self.other, form)
        for method in (ours, "scap"):
            plan = fit(profile, SparsityConfig(method=method))
            self.point(f"{form} {method} 0.5 other", lambda p=plan: other.measure(probe, p))
        if own:
            unseen = self.evaluation(probe, "unseen", self.unseen, "f16")
            profile = self.profile("f16", folder, own=True)
            self.point("f16 self 0.5", lambda: unseen.measure(probe, fit(profile, SparsityConfig())))

    def tasks(self) -> None:
        """Multiple choice: dense f16, and plans on it."""
        wanted = [("dense", 0.0), *((m, s) for s in (0.4, 0.5) for m in ("adaptive", "scap"))]
        left = [(f, m, s) for f in self.args.tasks for m, s in wanted if f"task {f.stem} {m} {s:g}" not in self.kept]
        if not left or "f16" not in self.args.forms:
            return
        folder = self.folder("f16")
        probe = ProbeModel(read_model(folder))
        profile, encode = self.profile("f16", folder), load_tokenizer(folder)
        for file, method, sparsity in left:
            plan = fit(profile, SparsityConfig(method=method, target_sparsity=sparsity)) if method != "dense" else None
            asked = partial(answer, probe, plan, encode, file, self.args.questions)
            self.once(f"task {file.stem} {method} {sparsity:g}", asked, lambda found: f"{found['accuracy']:.1%}")

    def rivals(self) -> None:
        """The f16 model quantised harder, dense."""
        for name in self.args.rivals:
            key = f"rival {name}"
            if key in self.kept:
                continue
            started = time.process_time()
            try:  # GPTQ of NNCF 3 fails on this model with shapes that do not fit; the other rivals are measured all the same
                folder = self.saved(key, lambda n=name: quantised(self.folder("f16"), n, self.fitted))
            except RuntimeError as e:
                print(f"{key}: NNCF cannot make it, {' '.join(str(e).split())[-120:]}", flush=True)
                continue
            seconds = time.process_time() - started
            probe = ProbeModel(read_model(folder), measure=True)
            unseen = self.evaluation(probe, "unseen", self.unseen, "rival")
            found = {**unseen.measure(probe, None), "bytes": bytes_of(self.folder("f16"), name), "seconds": seconds}
            self.keep(key, {**found, **self.asked(read_model(folder))})
            print(f"{key}: KL {found['kl']:.4f} ({time.process_time() - started:.0f} s)", flush=True)

    def deployed(self) -> None:
        """Decoding behind a dense prompt, and questions: int8 dense, graded and pruned, and int4."""
        wanted = [("i8", "dense", 0.0), *(("i8", "graded", s) for s in self.args.deployed), ("i4", "dense", 0.0)]
        wanted += [(form, "adaptive", s) for form in ("i8", "i4") for s in self.args.deployed[:1]]
        for form, method, share in wanted:
            key = f"deployed {form} {method} {share:g}"
            if form in self.args.forms:
                make = partial(self.made, form, method, share)
                self.once(key, lambda k=key, m=make: self.asked(read_model(self.saved(k, m))), str)

    def made(self, form: str, method: str, share: float) -> Any:
        """A model to deploy."""
        folder = self.folder(form)
        if method == "dense":
            return read_model(folder)
        config = SparsityConfig(target_sparsity=share, method=method, replace="always")
        return api.apply(folder, self.profile(form, folder), config)

    def saved(self, key: str, make: Callable[[], Any]) -> Path:
        """The folder of a model that is measured as it is deployed; made once."""
        folder: Path = self.args.work / "deployed" / key.replace(" ", "-").replace(",", "")
        if not folder.exists():
            api.save_model(make(), folder)
        return folder

    def asked(self, model: Any) -> dict[str, Any]:
        """What a model loses as it is deployed."""
        if self._deployed is None:
            self._deployed = Deployed(self.folder("f16"), self.unseen, self.args.tokens // 2)
        return self._deployed.losses(model)

    def speeds(self) -> None:
        """Decode speed of everything that was deployed, against stock int8; wants an idle machine."""
        stock = self.args.work / "deployed" / "deployed-i8-dense-0"
        for key in [k for k in self.kept if k.startswith(("deployed ", "rival "))]:
            if f"speed {key}" not in self.kept and stock.exists():
                self.keep(f"speed {key}", speedup(self.saved(key, dict), stock))
                print(f"{key}: {self.kept[f'speed {key}']:.2f}x of stock int8", flush=True)

    def embeddings(self) -> None:
        """The same methods on an encoder."""
        self.once("minilm", lambda: ranking(self.args.methods, [0.3, 0.4]), lambda found: f"{len(found)} points")

    def point(self, key: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a plan once."""
        self.once(key, measure, lambda found: f"KL {found['kl']:.4f}, sparsity {found['sparsity']:.4f}")

    def once(self, key: str, measure: Callable[[], Any], told: Callable[[Any], str]) -> None:
        """Measure what is not kept, and tell it with the processor time that it took."""
        if key not in self.kept:
            started = time.process_time()
            self.keep(key, measure())
            print(f"{key}: {told(self.kept[key])} ({time.process_time() - started:.0f} s)", flush=True)

    def points(self, form: str) -> list[tuple[str, float]]:
        """Methods and sparsities of a form; the full set for f16."""
        if form != "f16":
            graded = [("graded", s) for s in self.args.graded] if form == "i8" else []
            graded += [("graded+compensation", s) for s in self.args.compensate] if form == "i8" else []
            return graded + [(m, s) for s in self.args.quantised_sparsities for m in self.args.methods]
        grid = [(m, s) for s in self.args.sparsities for m in self.args.methods]
        # targets of scope ffn are shares of the FFN's weights; what is measured counts all block weights
        ffn = [("cats+ffn", FFN_SHARE), ("scap+ffn", FFN_SHARE), ("adaptive+ffn", FFN_SHARE)] * self.args.all_methods
        return grid + ffn

    def evaluation(self, probe: ProbeModel, name: str, text: str, form: str) -> Evaluation:
        """Windows of a text, the reference always of f16."""
        if name not in self.evaluations:
            source = probe if form == "f16" else ProbeModel(read_model(self.folder("f16")))
            self.evaluations[name] = Evaluation(source, text, self.folder("f16"), self.args.tokens)
        return self.evaluations[name]

    def profile(self, form: str, folder: Path, *, own: bool = False) -> CalibrationProfile:
        """Calibrated once, timed."""
        path = self.args.work / f"{form}{'-self' if own else ''}.safetensors"
        if not path.exists():
            tokens = self.args.calibration_tokens
            data = self_dataset(folder, tokens=tokens) if own else self.data(folder, tokens, WINDOW)
            started = time.process_time()
            profile = api.calibrate(folder, data)
            seconds = time.process_time() - started
            profile.save(path)
            self.keep(f"{form} {'self ' * own}calibration", {**profile.metadata, "seconds": seconds, "file_bytes": path.stat().st_size})
        return CalibrationProfile.load(path)

    def data(self, folder: Path, tokens: int, window: int) -> Any:
        """Calibration text."""
        return text_dataset(self.fitted, folder, read_model(folder), seq_len=window, max_tokens=tokens)

    def folder(self, form: str) -> Path:
        """The stock model in a weight form."""
        stock = stock_model("genai", self.args.work / "u4", print)
        folder: Path = self.args.work / form
        return folder if folder.exists() else write_in_form(stock, form, folder)


def main() -> None:
    """Measure what is missing and write the page."""
    args = options(__doc__.splitlines()[0]).parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    run = Run(args)
    if not args.only_speed:
        measure(run)
    run.speeds()
    if args.output:
        write_page(run.kept, args.output, args.page)


def measure(run: Run) -> None:
    """All but speed; what a user decides by comes first."""
    for form in run.args.forms:
        run.form(form)
        if form == "i8":
            run.deployed()
            run.rivals()
        if form != "i4":
            run.other_text(form)
    run.deployed()
    run.tasks()
    if run.args.minilm:
        run.embeddings()


if __name__ == "__main__":
    main()
