"""What proposed a trial's plan."""

EXACT, GREEDY = "exact by sensitivity", "greedy by sensitivity"
EVEN = (EXACT, GREEDY)
"""Of plans that lose least by the sensitivity curves, all coefficients being 1."""
SAMPLER = "sampler"
"""Of trials that Optuna's sampler suggested."""
GAP = "gap of the front"
"""Of trials between two neighbours on the front."""
SUGGESTED = (SAMPLER, GAP)
"""Of trials whose plans follow from their parameters."""
