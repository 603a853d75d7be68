"""Small helpers without PyTorch: files, signals, quantities, untrusted text."""
