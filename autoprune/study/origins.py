"""What proposed a trial's plan."""

EXACT, GREEDY = "exact by sensitivity", "greedy by sensitivity"
EVEN = (EXACT, GREEDY)
"""Of plans that lose least by the sensitivity curves, all coefficients being 1."""
PREVIEW = ", untrained"
"""Ends the origin of a plan's preview."""
SAMPLER = "sampler"
"""Of trials that Optuna's sampler suggested."""
GAP = "gap of the front"
"""Of trials between two neighbours on the front."""
REFINED = "refined"
"""Of trials near one on the front, in which groups that share a parameter depart from each other."""
SUGGESTED = (SAMPLER, GAP)
"""Of trials whose plans follow from their parameters."""
REFINED_FROM = "refined_from"
"""Attribute of such a trial: the one on the front that it is near."""
AFTER_WARM_STARTS = (*SUGGESTED, REFINED)
"""Of trials that depend on the ones before."""


def is_even(origin: object) -> bool:
    """Whether a plan, or its preview, loses least by the sensitivity curves."""
    return isinstance(origin, str) and origin.removesuffix(PREVIEW) in EVEN
