"""One self-contained HTML page about a pruned model: figures and plots."""

from scap_ov.report.html import Findings, write_report

__all__ = ["Findings", "write_report"]
