"""What each family of ATen operators does to labels. Importing the package fills the table."""

from autoprune.structure.rules import contracting, moving, normalising, pointwise, reducing

__all__ = ["contracting", "moving", "normalising", "pointwise", "reducing"]
