"""Presentation of a study: the front, tables, the live view, the report and the dashboard."""

from autoprune.review.card import card_of
from autoprune.review.dashboard import serve
from autoprune.review.events import JsonLines
from autoprune.review.explained import explanation_table
from autoprune.review.groups import groups_table
from autoprune.review.html import study_html
from autoprune.review.latency_steps import check_drawing, draw_latency_steps, profile_table
from autoprune.review.live import LiveView
from autoprune.review.overview import overview
from autoprune.review.publish import publish, write_study_note
from autoprune.review.report import write_explanation, write_report
from autoprune.review.stages import stage_seconds, stages_table
from autoprune.review.table import comparison_table, front_table, headline, to_csv, to_json
from autoprune.study.callbacks import Callback, WithCallbacks
from autoprune.study.choose import SEVERAL, chosen_trial, chosen_trials
from autoprune.study.diagnostics import Gap, StagePredictor, gap, health_lines, predictors
from autoprune.study.explanation import Explanation, explain
from autoprune.study.front import Baseline, Summary, best, front, summary, why_none
from autoprune.study.listener import Count, Listener
from autoprune.study.open import open_study
from autoprune.study.picks import pick, picked, unpick
from autoprune.study.record import study_record

__all__ = [
    "SEVERAL",
    "Baseline",
    "Callback",
    "Count",
    "Explanation",
    "Gap",
    "JsonLines",
    "Listener",
    "LiveView",
    "StagePredictor",
    "Summary",
    "WithCallbacks",
    "best",
    "card_of",
    "check_drawing",
    "chosen_trial",
    "chosen_trials",
    "comparison_table",
    "draw_latency_steps",
    "explain",
    "explanation_table",
    "front",
    "front_table",
    "gap",
    "groups_table",
    "headline",
    "health_lines",
    "open_study",
    "overview",
    "pick",
    "picked",
    "predictors",
    "profile_table",
    "publish",
    "serve",
    "stage_seconds",
    "stages_table",
    "study_html",
    "study_record",
    "summary",
    "to_csv",
    "to_json",
    "unpick",
    "why_none",
    "write_explanation",
    "write_report",
    "write_study_note",
]
