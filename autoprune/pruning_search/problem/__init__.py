"""What a trial has to know, and the builders that make it."""
