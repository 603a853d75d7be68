"""Which plans are tried: warm starts, samplers, gaps of the front."""
