"""How forward passes are made fast: a call of the network as a graph, rewritten, and done once where once is enough."""

from linescape.engine.fast import Fast
from linescape.engine.flops import operations
from linescape.engine.native.build import compiler
from linescape.engine.native.gradients import with_winograd

__all__ = ["Fast", "compiler", "operations", "with_winograd"]
