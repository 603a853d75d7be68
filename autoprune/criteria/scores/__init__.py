"""The criteria themselves, one module each."""
