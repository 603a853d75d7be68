"""Data sets: by name, from folders, from a user's factory; their splits and subsets."""
