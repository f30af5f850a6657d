"""``python -m mmedge``: the same as ``mmedge``."""

from mmedge.cli import main

main()
