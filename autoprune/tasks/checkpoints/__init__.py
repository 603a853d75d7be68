"""Weights on disk: reading published checkpoints without ever running code in them."""
