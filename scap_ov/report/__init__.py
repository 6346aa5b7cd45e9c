"""One self-contained HTML page about a pruned model: figures and plots."""

from scap_ov.report.html import write_report

__all__ = ["write_report"]
