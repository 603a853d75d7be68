"""What ``import autoprune`` hands out for searching, and for reading what a search recorded."""

from autoprune.api.recorded import open_study
from autoprune.api.searches import run_search, search
from autoprune.api.study import Study

__all__ = ["Study", "open_study", "run_search", "search"]
