"""Labels of channels, propagated through the graph."""
