"""Reports on a study and on one of its trials: self-contained HTML files."""

from autoprune.review.report.explained import write_explanation
from autoprune.review.report.report import report_html, write_report

__all__ = ["report_html", "write_explanation", "write_report"]
