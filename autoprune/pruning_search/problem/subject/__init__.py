"""The model that a search prunes, with its data."""
