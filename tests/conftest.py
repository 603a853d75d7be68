"""Read before any test module: each worker process of the tests has one core to itself."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
