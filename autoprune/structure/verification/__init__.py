"""Proof by execution that a cut is right."""
