"""Origins of a trial's plan."""

EXACT, GREEDY = "exact by sensitivity", "greedy by sensitivity"
EVEN = (EXACT, GREEDY)
"""Plans with the least loss by the sensitivity curves, with all coefficients 1."""
PREVIEW = ", untrained"
"""Suffix of the origin of a preview."""
SAMPLER = "sampler"
"""Trials that Optuna's sampler suggested."""
GAP = "gap of the front"
"""Trials between two neighbours on the front."""
REFINED = "refined"
"""Variations of a trial on the front that separate groups that share a parameter."""
SUGGESTED = (SAMPLER, GAP)
"""Trials whose plans follow from their parameters."""
AFTER_WARM_STARTS = (*SUGGESTED, REFINED)
"""Trials that depend on earlier ones."""


def is_even(origin: object) -> bool:
    """Whether a plan, or its preview, has the least loss by the sensitivity curves."""
    return isinstance(origin, str) and origin.removesuffix(PREVIEW) in EVEN
