"""Examples to copy; each runs by its name."""
