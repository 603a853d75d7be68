"""The data model of a recorded study: its record, trials, front and estimates."""
