"""Weights on disk: reading what others published, without ever running what a file holds."""
