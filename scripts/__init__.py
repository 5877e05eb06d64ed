"""Programs of those who make linescape."""
