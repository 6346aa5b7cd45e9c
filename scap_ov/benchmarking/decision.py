"""What `replace="where_faster"` decides: which sites stay stock, and how many rows the others prune."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scap_ov.benchmarking import row_gain, site_gain
from scap_ov.benchmarking.measured import Measurements
from scap_ov.plan import LEFT_STOCK, SPARSE_ROWS

if TYPE_CHECKING:
    from scap_ov.plan import SparsityPlan
    from scap_ov.progress import TitledProgress


def with_decision(
    plan: SparsityPlan, measured: Measurements | None, progress: TitledProgress | None
) -> tuple[SparsityPlan, dict[str, str]]:
    """Which sites stay stock because the op would lose there, and how many rows the others prune.

    As the plan notes it, so that a saved plan gives one model, else measured.

    :return: the plan with the decision noted, and the decision: site -> why it stays stock.
    """
    if plan.left_stock is not None:
        return plan, dict(plan.left_stock)
    known, widest = measured or Measurements(), plan.widest()  # of levels: at the highest one
    stock = site_gain.sites_that_lose(widest, measured=known, progress=progress)
    rows = row_gain.rows_that_pay(widest, stock, measured=known, progress=progress)
    return replace(plan, notes={**plan.notes, LEFT_STOCK: stock, SPARSE_ROWS: rows}), stock
