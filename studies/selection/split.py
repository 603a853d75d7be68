"""Should validation data be divided into a part that guides a search and one that ranks its finalists?

Simulates searches: candidates with a true accuracy each, and estimates of it on finitely many samples. What
two candidates have in common (samples that are hard for both) does not matter for their order, so that the
noise is that of the samples on which they disagree.

    python studies/selection/split.py > studies/selection/split.csv
"""

from __future__ import annotations

import sys

import numpy as np

SPREAD = 0.004
"""Standard deviation of the true accuracy among candidates of one cost, late in a search."""
DISAGREEMENT = 0.06
"""Share of the samples on which two candidates of one cost disagree."""
REPEATS = 4000
FINALISTS = 8
SIZES, TRIALS, SHARES = (200, 360, 500, 1000, 2000, 5000, 20000), (20, 100, 500), (0.5, 0.7, 0.8)


def main() -> None:
    """Print regret (accuracy lost to the best candidate) and optimism (claimed minus true), in points."""
    rows = ["samples,trials,method,guiding_share,regret,optimism"]
    for samples in SIZES:
        for trials in TRIALS:
            rows += [
                f"{samples},{trials},{name},{share},{100 * regret:.3f},{100 * optimism:.3f}"
                for name, share, regret, optimism in compared(samples, trials)
            ]
    sys.stdout.write("\n".join(rows) + "\n")


def compared(samples: int, trials: int) -> list[tuple[str, float, float, float]]:
    """Method, share that guides, mean regret and mean optimism."""
    rng = np.random.default_rng(samples * 1000 + trials)
    true = SPREAD * rng.standard_normal((REPEATS, trials))

    def estimate(count: float) -> np.ndarray:
        return true + np.sqrt(DISAGREEMENT / 2 / count) * rng.standard_normal(true.shape)

    whole = estimate(samples)
    found = [("whole", 1.0, *judged(true, whole, whole))]
    for share in SHARES:
        guiding, ranking = estimate(share * samples), estimate((1 - share) * samples)
        pooled = share * guiding + (1 - share) * ranking
        finalists = guiding >= -np.sort(-guiding, axis=1)[:, [min(FINALISTS, trials) - 1]]
        found.append(("ranked", share, *judged(true, np.where(finalists, ranking, -1), ranking)))
        chosen = np.where(finalists, pooled, -1)
        found.append(("pooled", share, *judged(true, chosen, ranking)))
        # The finalists were chosen by the guiding samples alone: their mean gap is what those flatter.
        gap = np.where(finalists, guiding - ranking, 0).sum(axis=1) / finalists.sum(axis=1)
        found.append(("corrected", share, *judged(true, chosen, pooled - share * gap[:, None])))
    return found


def judged(true: np.ndarray, scores: np.ndarray, claimed: np.ndarray) -> tuple[float, float]:
    """Mean regret of the candidate with the highest score, and how much more than the truth is claimed."""
    rows, chosen = np.arange(len(true)), scores.argmax(axis=1)
    regret = true.max(axis=1) - true[rows, chosen]
    return float(regret.mean()), float((claimed[rows, chosen] - true[rows, chosen]).mean())


if __name__ == "__main__":
    main()
