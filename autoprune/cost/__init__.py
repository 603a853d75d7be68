"""Costs of a model: FLOPs, parameters and size as closed forms, latency by measurement."""

from __future__ import annotations

from autoprune.cost.flops import Term, flop_terms, operation_terms, uncounted
from autoprune.cost.latency.device_fingerprint import DeviceFingerprint, fingerprint_of
from autoprune.cost.latency.meter import Latency, Meter
from autoprune.cost.latency.prediction import Accuracy, Predictor, accuracy
from autoprune.cost.latency.profile import Profile
from autoprune.cost.latency.ratio_interval import RatioInterval, ratio_interval
from autoprune.cost.latency.runtimes import Call, EagerRuntime, Runtime, named_runtime, runtime_by_name
from autoprune.cost.latency.setting import Setting
from autoprune.cost.latency.shape_signature import shape_signature
from autoprune.cost.latency.timing_lock import timing_lock
from autoprune.cost.mask_model import MaskCostModel, MaskCosts
from autoprune.cost.model import BatchCosts, CostModel, Costs

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
