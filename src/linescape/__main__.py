"""``python -m linescape`` is the command ``linescape``."""

from linescape.cli import main

main()
