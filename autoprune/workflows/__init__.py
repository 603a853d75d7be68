"""What the Python API and the command line share, one module a command; nothing here prints."""
