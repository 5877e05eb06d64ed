"""linescape: what lies on the straight line between two neural networks."""

__version__ = "0.1.0"
