"""Cutting modules and the sizes that they hold."""
