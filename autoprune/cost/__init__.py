"""Costs of a model: FLOPs, parameters and size as closed forms, latency by measurement."""

from __future__ import annotations

from autoprune.cost.fingerprint import DeviceFingerprint, fingerprint_of
from autoprune.cost.flops import Term, flop_terms, operation_terms, uncounted
from autoprune.cost.latency import Latency, Meter
from autoprune.cost.lock import timing_lock
from autoprune.cost.masks import MaskCostModel, MaskCosts
from autoprune.cost.model import BatchCosts, CostModel, Costs
from autoprune.cost.prediction import Accuracy, Predictor, accuracy
from autoprune.cost.profile import Profile
from autoprune.cost.runtimes import Call, EagerRuntime, Runtime, named_runtime, runtime_by_name
from autoprune.cost.setting import Setting
from autoprune.cost.signature import shape_signature
from autoprune.cost.statistics import RatioInterval, ratio_interval

__all__ = [
    "Accuracy",
    "BatchCosts",
    "Call",
    "CostModel",
    "Costs",
    "DeviceFingerprint",
    "EagerRuntime",
    "Latency",
    "MaskCostModel",
    "MaskCosts",
    "Meter",
    "Predictor",
    "Profile",
    "RatioInterval",
    "Runtime",
    "Setting",
    "Term",
    "accuracy",
    "fingerprint_of",
    "flop_terms",
    "named_runtime",
    "operation_terms",
    "ratio_interval",
    "runtime_by_name",
    "shape_signature",
    "timing_lock",
    "uncounted",
]
