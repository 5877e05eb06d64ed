"""How forward passes are made fast: a call of the network as a graph, rewritten, and done once where once is enough."""

from linescape.engine.compiled import compiler
from linescape.engine.fast import Fast
from linescape.engine.gradients import with_winograd
from linescape.engine.operations import operations

__all__ = ["Fast", "compiler", "operations", "with_winograd"]
