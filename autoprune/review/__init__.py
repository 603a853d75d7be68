"""What a study found and how it goes: the front, the table, the live view, the dashboard."""

from autoprune.review.comparison import comparison_table
from autoprune.review.dashboard import serve
from autoprune.review.front import Baseline, Summary, best, front, summary
from autoprune.review.groups import groups_table
from autoprune.review.listener import Count, Listener
from autoprune.review.live import LiveView
from autoprune.review.stairs import draw_stairs, profile_table
from autoprune.review.storage import open_storage, open_study
from autoprune.review.table import front_table, headline, to_csv, to_json

__all__ = [
    "Baseline",
    "Count",
    "Listener",
    "LiveView",
    "Summary",
    "best",
    "comparison_table",
    "draw_stairs",
    "front",
    "front_table",
    "groups_table",
    "headline",
    "open_storage",
    "open_study",
    "profile_table",
    "serve",
    "summary",
    "to_csv",
    "to_json",
]
