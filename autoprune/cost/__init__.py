"""Costs of a model: FLOPs, parameters and size as closed forms, latency by measurement."""

from __future__ import annotations

from autoprune.cost.fingerprint import DeviceFingerprint, current_device
from autoprune.cost.flops import Term, flop_term, flop_terms, uncounted
from autoprune.cost.latency import Latency, measure_latency
from autoprune.cost.lock import timing_lock
from autoprune.cost.model import BatchCosts, CostModel, Costs
from autoprune.cost.runtimes import EagerRuntime, Runtime
from autoprune.cost.statistics import RatioInterval, ratio_interval

__all__ = [
    "BatchCosts",
    "CostModel",
    "Costs",
    "DeviceFingerprint",
    "EagerRuntime",
    "Latency",
    "RatioInterval",
    "Runtime",
    "Term",
    "current_device",
    "flop_term",
    "flop_terms",
    "measure_latency",
    "ratio_interval",
    "timing_lock",
    "uncounted",
]
