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
from quality_evaluation import Evaluation, everything_documented
from quality_models import Models
from quality_options import options
from quality_page import write_page
from quality_rivals import bytes_of, quantised
from quality_tasks import answer

from scap_ov import api
from scap_ov.calibration.drift import measure_drift
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.refine import refine
from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.evaluation.evaluate import evaluate
from scap_ov.fitting.fit import fit
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.sample_models.sample_text import documentation
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
        sources = {"Python's sources": Path(argparse.__file__).read_text(encoding="utf-8")}
        self.others = {"Python's documentation": documentation(60_000), **sources} if args.text else sources
        middle = text.index("\n", len(text) // 2)
        self.unseen = text[middle:]
        self.models = Models(args, text[:middle])
        self.evaluations: dict[str, Evaluation] = {}
        self._deployed: Deployed | None = None
        self.keep("about", {"machine": machine(), "text": args.title, "tokens": args.tokens, "source": args.source,
                            "model": args.name, "calibration_tokens": args.calibration_tokens})  # fmt: skip

    def keep(self, key: str, value: Any) -> None:
        """Note a result."""
        self.kept[key] = value
        self.path.write_text(json.dumps(self.kept, indent=1), encoding="utf-8")

    def form(self, form: str) -> None:
        """All points of one weight form."""
        folder = self.models.folder(form)
        extras = [f"{form} sequential 0.5"] * (form == "f16" and self.args.sequential)
        wanted = [*extras, f"{form} dense", *(f"{form} {method} {s:g}" for method, s in self.points(form))]
        if all(key in self.kept for key in wanted):
            return
        probe = ProbeModel(read_model(folder), measure=True, graded=form == "i8")
        unseen = self.evaluation(probe, "", self.unseen, form)
        self.point(f"{form} dense", lambda: unseen.measure(probe, None))
        left = {f"{form} {m} {s:g}": (m, s) for m, s in self.points(form)}
        if not left:
            return
        profile = self.profile(form)
        for key, (method, sparsity) in left.items():
            self.point(key, partial(self.one, form, probe, profile, unseen, method, sparsity))
        if extras:
            self.point(extras[0], lambda: unseen.measure(probe, fit(self.sequential(probe.stock, form, profile), SparsityConfig())))

    def sequential(self, model: Any, form: str, profile: CalibrationProfile) -> CalibrationProfile:
        """What `calibrate --sequential` adds to a profile."""
        data = self.models.data(form, self.args.calibration_tokens)
        behind, _ = refine(model, data, profile, fit(profile, SparsityConfig()), rounds=1)
        return measure_drift(model, data, behind)

    def one(
        self, form: str, probe: ProbeModel, profile: CalibrationProfile, unseen: Evaluation, method: str, sparsity: float
    ) -> dict[str, Any] | None:
        """Fit and measure; None where a method cannot give as much."""
        name, _, extra = method.partition("+")
        config = SparsityConfig(target_sparsity=sparsity, method=name, scope="ffn" if extra == "ffn" else "all", rows="all",
                                drift_correction=extra != "one-shot", lm_head=extra == "lm_head")  # fmt: skip
        try:
            if name == "cats":  # a rewrite of its own: not what a probe can do
                return self.rewritten(self.models.folder(form), profile, config)
            plan = fit(profile, config)
        except UsageError as e:
            print(f"{form} {method} {sparsity:g}: {e}", flush=True)
            return None
        if extra == "compensation":
            started = time.process_time()
            data = self.models.data(form, COMPENSATION_TOKENS)
            plan = fit_compensation(probe.stock, data, profile, plan, steps=self.args.steps)
            self.keep(f"{form} compensation {sparsity:g}", {**plan.notes["compensation"], "seconds": time.process_time() - started})
        return unseen.measure(probe, plan)

    def rewritten(self, folder: Path, profile: CalibrationProfile, config: SparsityConfig) -> dict[str, Any]:
        """Measure through the rewritten model."""
        windows = [np.asarray(p.inputs["input_ids"]).reshape(-1) for p in self.evaluations[""].pieces]
        found = evaluate(api.apply(folder, profile, config, form="portable"), folder, windows, rows="all")
        return {"kl": found.kl_divergence, "perplexity": found.perplexity, "top1": found.top1_agreement, "sparsity": found.sparsity,
                "bytes": found.weight_bytes_per_token}  # fmt: skip

    def other_text(self, form: str) -> None:
        """Plans on texts of other domains; from text that the model wrote itself, and at other shares, on all texts."""
        folder, ours = self.models.folder(form), "graded" if form == "i8" else "adaptive"
        texts = {"": self.unseen, **self.others}
        wanted = [(False, method, 0.5, name) for name in self.others for method in (ours, "scap")]
        profiles = (False, True) if self.args.self else (False,)
        wanted += [(own, ours, share, name) for own in profiles for share in self.args.held for name in texts]
        points = {_held_key(form, *point): point for point in wanted}
        left = {key: point for key, point in points.items() if key not in self.kept}
        if not left:
            return
        probe = ProbeModel(read_model(folder), measure=True, graded=form == "i8")
        for key, (own, method, share, name) in left.items():
            profile = self.profile(form, own=own)
            plan = fit(profile, SparsityConfig(method=method, target_sparsity=share, lm_head=False))
            self.point(key, lambda p=plan, n=name: self.evaluation(probe, n, texts[n], form).measure(probe, p))

    def tasks(self) -> None:
        """Multiple choice: dense f16, and plans on it."""
        wanted = [("dense", 0.0), *((m, s) for s in (0.4, 0.5) for m in ("adaptive", "scap"))]
        left = [(f, m, s) for f in self.args.tasks for m, s in wanted if f"task {f.stem} {m} {s:g}" not in self.kept]
        if not left or "f16" not in self.args.forms:
            return
        folder = self.models.folder("f16")
        probe = ProbeModel(read_model(folder))
        profile, encode = self.profile("f16"), load_tokenizer(folder)
        for file, method, sparsity in left:
            plan = fit(profile, SparsityConfig(method=method, target_sparsity=sparsity, lm_head=False)) if method != "dense" else None
            asked = partial(answer, probe, plan, encode, file, self.args.questions)
            self.once(f"task {file.stem} {method} {sparsity:g}", asked, lambda found: f"{found['accuracy']:.1%}")

    def rivals(self) -> None:
        """The f16 model quantised harder, dense."""
        for name in self.args.rivals:
            if f"rival {name}" in self.kept or name in self.kept.get("refused", {}):
                continue
            try:
                self.once(f"rival {name}", lambda n=name: self.rival(n), lambda found: f"KL {found['kl']:.4f}")
            except RuntimeError as e:  # of NNCF, or of a plugin without such a type; the other rivals are measured all the same
                self.keep("refused", {**self.kept.get("refused", {}), name: " ".join(str(e).split())[-160:]})
                print(f"rival {name} cannot be made: {self.kept['refused'][name]}", flush=True)

    def rival(self, name: str) -> dict[str, Any]:
        """One of them, measured as ours are."""
        started, stock = time.process_time(), self.models.folder("f16")
        folder = self.saved(f"rival {name}", lambda: quantised(stock, name, self.models.fitted))
        seconds = time.process_time() - started
        probe = ProbeModel(read_model(folder), measure=True)
        found = self.evaluation(probe, "", self.unseen, "rival").measure(probe, None)
        return {**found, "bytes": bytes_of(stock, name), "seconds": seconds, **self.asked(read_model(folder))}

    def deployed(self) -> None:
        """Decoding behind a dense prompt, and questions: int8 dense, graded and pruned, and int4."""
        wanted = [("i8", "dense", 0.0), *(("i8", "graded", s) for s in self.args.deployed), ("i4", "dense", 0.0)]
        wanted += [("i8", "adaptive", s) for s in self.args.deployed[:1]]
        for form, method, share in wanted:
            key = f"deployed {form} {method} {share:g}"
            if form in self.args.forms:
                make = partial(self.made, form, method, share)
                self.once(key, lambda k=key, m=make: self.asked(read_model(self.saved(k, m))), str)

    def made(self, form: str, method: str, share: float) -> Any:
        """A model to deploy."""
        folder = self.models.folder(form)
        if method == "dense":
            return read_model(folder)
        config = SparsityConfig(target_sparsity=share, method=method, replace="always", lm_head=False)
        return api.apply(folder, self.profile(form), config)

    def saved(self, key: str, make: Callable[[], Any]) -> Path:
        """The folder of a model that is measured as it is deployed; made once."""
        folder: Path = self.args.work / "deployed" / key.replace(" ", "-").replace(",", "")
        if not folder.exists():
            api.save_model(make(), folder)
        return folder

    def asked(self, model: Any) -> dict[str, Any]:
        """What a model loses as it is deployed."""
        if self._deployed is None:
            self._deployed = Deployed(self.models.folder("f16"), self.unseen, self.args.tokens)
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

    def point(self, key: str, measure: Callable[[], dict[str, Any] | None]) -> None:
        """Measure a plan once."""
        self.once(key, measure, lambda found: f"KL {found['kl']:.4f}, sparsity {found['sparsity']:.4f}" if found else "cannot be")

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
            graded += [("graded+lm_head", s) for s in self.args.lm_head] if form == "i8" else []
            graded += [("graded+compensation", s) for s in self.args.compensate] if form == "i8" else []
            shares = self.args.quantised_sparsities if form == "i8" else self.args.int4_sparsities
            return graded + [(m, s) for s in shares for m in self.args.methods]
        grid = [(m, s) for s in self.args.sparsities for m in self.args.methods]
        # targets of scope ffn are shares of the FFN's weights; what is measured counts all block weights
        ffn = [("cats+ffn", FFN_SHARE), ("scap+ffn", FFN_SHARE), ("adaptive+ffn", FFN_SHARE)] * self.args.all_methods
        return grid + ffn

    def evaluation(self, probe: ProbeModel, name: str, text: str, form: str) -> Evaluation:
        """Windows of a text, the reference always of f16."""
        if name not in self.evaluations:
            source = probe if form == "f16" else ProbeModel(read_model(self.models.folder("f16")))
            tokens = self.args.tokens // (1 if name == "" else 2)
            self.evaluations[name] = Evaluation(source, text, self.models.folder("f16"), tokens, self.args.work / "references")
        return self.evaluations[name]

    def profile(self, form: str, *, own: bool = False) -> CalibrationProfile:
        """Calibrated once, timed."""
        profile, told = self.models.profile(form, own=own)
        if told:
            self.keep(f"{form} {'self ' * own}calibration", told)
        return profile


def _held_key(form: str, own: bool, method: str, share: float, text: str) -> str:
    """Of a point that tells whether thresholds hold: on which text, calibrated on what."""
    return f"held {form} {method} {share:g} {'self' if own else 'text'} {text}".strip()


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
        if form != "i4":
            run.other_text(form)
    run.deployed()
    run.rivals()
    run.tasks()
    if run.args.minilm:
        run.embeddings()


if __name__ == "__main__":
    main()
