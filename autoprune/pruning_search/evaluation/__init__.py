"""Evaluating one candidate."""
