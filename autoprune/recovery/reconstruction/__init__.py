"""Fitting weights to what layers read, without gradients."""
