"""What a study found and how it goes: the front, the table, the live view, the dashboard."""

from autoprune.review.dashboard import serve
from autoprune.review.front import Baseline, Summary, best, front, summary
from autoprune.review.listener import Count, Listener
from autoprune.review.live import LiveView
from autoprune.review.storage import open_storage, open_study
from autoprune.review.table import front_table, headline, to_csv, to_json

__all__ = [
    "Baseline",
    "Count",
    "Listener",
    "LiveView",
    "Summary",
    "best",
    "front",
    "front_table",
    "headline",
    "open_storage",
    "open_study",
    "serve",
    "summary",
    "to_csv",
    "to_json",
]
