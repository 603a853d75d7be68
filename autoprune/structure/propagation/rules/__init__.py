"""What each family of ATen operators does to labels. Importing the package fills the table."""

from autoprune.structure.propagation.rules import (
    attention,
    contracting,
    joining,
    moving,
    normalising,
    pointwise,
    recurrent,
    reducing,
)

__all__ = [
    "attention",
    "contracting",
    "joining",
    "moving",
    "normalising",
    "pointwise",
    "recurrent",
    "reducing",
]
