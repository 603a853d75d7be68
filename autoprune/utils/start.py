"""What a Python process of ours runs first: ``start.py [-m MODULE | FILE] ARGUMENTS``.

It looks for modules where its parent looks. An environment variable for Python itself would say so too early:
Python then imports ``sitecustomize`` from there, which in the working folder may be anybody's.
"""

from __future__ import annotations

import json
import os
import runpy
import sys


def main() -> None:
    """Run a module or a file as Python would."""
    sys.path[:] = json.loads(os.environ.pop("AUTOPRUNE_MODULE_PATHS"))
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
