"""Fast forward passes along a path: the network as a graph, simplified, each part computed as often as needed."""

from linescape.engine.arithmetic import arithmetic_digest
from linescape.engine.fast import Fast, Worth
from linescape.engine.flops import operations
from linescape.engine.native.build import compiler, library_digest
from linescape.engine.native.gradients import with_winograd

__all__ = ["Fast", "Worth", "arithmetic_digest", "compiler", "library_digest", "operations", "with_winograd"]
