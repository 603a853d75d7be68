"""Where the workers of a search run: processes of this machine, or actors of a Ray cluster.

A worker is ``autoprune worker``, and what it does is of no concern here. Nothing is imported by the package
itself: an actor needs two small modules, and neither PyTorch nor Optuna beside those of its worker.
"""
