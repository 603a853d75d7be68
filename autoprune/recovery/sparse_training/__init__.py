"""Sparse training: a short phase before anything is cut, after which units that matter little are small."""

from autoprune.recovery.sparse_training.train import DEFAULT_STRENGTH, METHODS, Sparsified, sparsify

__all__ = ["DEFAULT_STRENGTH", "METHODS", "Sparsified", "sparsify"]
