"""Programs for those who work on linescape, each run by its name."""
