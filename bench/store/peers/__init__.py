"""One program for each peer, each of one shape: see shape.py and shape.mjs. They run in processes, and venvs, of their own."""
