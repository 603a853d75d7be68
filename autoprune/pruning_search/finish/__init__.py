"""What happens after the last trial: finalists, the test split, longer recovery."""
