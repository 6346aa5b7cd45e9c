"""List the sites of a model, stock or sparse: shapes, weight forms, planned sparsity, what was decided for each and why."""

from __future__ import annotations

import argparse

from scap_ov.cli.levels import tell_planned, told_share
from scap_ov.cli.options import add_json_option
from scap_ov.cli.output import Output
from scap_ov.cli.record import record_of
from scap_ov.cli.routed import tokens_per_expert, width
from scap_ov.config import SparsityConfig
from scap_ov.json_values import JsonObject

EXAMPLES = (
    "scap-ov inspect sparse",
    "scap-ov inspect stock --plan plan.safetensors --json -",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inspect`."""
    parser.add_argument("model", help="model folder, .xml or .onnx, stock or sparse")
    parser.add_argument("--plan", metavar="FILE", help="show what this plan would do to the stock model")
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Print the table and the layers that were skipped."""
    record = record_of(args.model) if args.plan is None else None
    summary = _found(args.model, args.plan) if record is None else record["summary"]
    sites = summary["sites"]
    rows = [(s["name"], s["kind"], s["weights"], s["in_features"], width(s), f"{s['planned_sparsity']:.1%}",
             _reads(s), s["state"], s["reason"]) for s in sites]  # fmt: skip
    out.table(
        f"{args.model}: {summary['form']}", ("site", "kind", "weights", "K", "N", "not read", "dropped/half/whole", "state", "reason"), rows
    )
    out.say(f"{len(sites)} sites; {told_share(summary)}")
    tell_planned(summary, out)
    for line in tokens_per_expert(summary):
        out.say(line)
    for name, reason in summary["skipped"]:
        out.say(f"skipped {name}: {reason}")
    out.figures({"model": str(args.model), **summary})


def _reads(site: JsonObject) -> str:
    """Planned shares of the channels in per cent; models of versions before 0.3 do not tell, and drop what they do not read."""
    dropped, half = float({"dropped": site["planned_sparsity"], **site}["dropped"]), float(site.get("half", 0))
    return f"{100 * dropped:.0f}/{100 * half:.0f}/{100 * (1 - dropped - half):.0f}"


def _found(model: str, plan_file: str | None) -> JsonObject:
    from scap_ov.backends import backend_of
    from scap_ov.plan import SparsityPlan
    from scap_ov.storage.rt_info import describe, summarise

    backend = backend_of(model)
    opened = backend.open_model(model)
    if plan_file is not None:
        plan = SparsityPlan.load(plan_file)
        backend.check_stock(opened)
        backend.check_plan(opened, plan)
        return {**summarise(plan, "planned", {}, backend.find(opened, plan.config)[1])}
    sites, skipped = backend.find(opened, SparsityConfig(lm_head=True))
    note = {"lm_head": "pruned only with --lm-head"}
    rows = [{**describe(site), "planned_sparsity": 0.0, "state": "stock", "reason": note.get(site.kind.value, "")} for site in sites]
    return {"form": "stock", "expected_sparsity": 0.0, "sites": rows, "skipped": [list(pair) for pair in skipped], "notes": {}}
