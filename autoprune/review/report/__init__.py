"""A report on a study: one HTML file with everything in it."""

from autoprune.review.report.report import report_html, write_report

__all__ = ["report_html", "write_report"]
