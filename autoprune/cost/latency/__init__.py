"""Latency: the timing protocol, profiles of a device, and predictions from them."""
