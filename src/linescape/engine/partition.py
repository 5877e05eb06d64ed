"""Cuts a graph by how often its operations must be computed along a path.

==========  =========================  =============================================
part        depends on                 is computed
==========  =========================  =============================================
``fixed``   fixed weights              once
``states``  moving weights             once for each state
``kept``    inputs and fixed weights   once for each batch, and its results are kept
``mixed``   what is kept, and alpha    every time
``live``    inputs and moving weights  every time
==========  =========================  =============================================

What is mixed from results at the two ends is apart from what is live. This then depends on tensors alone and not on the
number alpha, so it can be recorded (`replay`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from linescape.engine.rewrite import ALPHA, dependents


@dataclass(frozen=True, eq=False)
class Part:
    """Some operations of a graph as one function.

    Attributes:
        module: called with the values of `needs`, in order; returns those of `gives`.
        needs: names of values from other parts, or placeholders.
        gives: names of its values that other parts need or that the graph returns.
    """

    module: fx.GraphModule
    needs: tuple[str, ...]
    gives: tuple[str, ...]

    def run(self, values: MutableMapping[str, Any]) -> None:
        """Compute this part from `values`, and add its results to them."""
        if self.gives:
            values.update(zip(self.gives, self.module(*[values[name] for name in self.needs]), strict=True))


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a graph, see the module, and the names of its outputs."""

    fixed: Part
    states: Part
    kept: Part
    mixed: Part
    live: Part
    outputs: tuple[str, ...]


def split(graph: fx.Graph, inputs: Iterable[str], moving: Iterable[str]) -> Parts:
    """Cut a graph into its parts, where `inputs` and `moving` are names of placeholders."""
    of_inputs, of_moving = dependents(graph, inputs), dependents(graph, moving)
    operations = [node for node in graph.nodes if node.op in ("call_function", "call_method")]
    returned = graph.output_node().all_input_nodes

    def chosen(batch: bool, moves: bool) -> list[fx.Node]:
        return [node for node in operations if (node in of_inputs) == batch and (node in of_moving) == moves]

    every_time = chosen(batch=True, moves=True)
    of_live = set(every_time)
    mixed = [
        node
        for node in every_time
        if any(arg.name == ALPHA for arg in node.all_input_nodes) and of_live.isdisjoint(node.all_input_nodes)
    ]
    outputs = graph.output_node().args[0]
    assert isinstance(outputs, list | tuple)
    return Parts(
        fixed=_part(chosen(batch=False, moves=False), returned),
        states=_part(chosen(batch=False, moves=True), returned),
        kept=_part(chosen(batch=True, moves=False), returned),
        mixed=_part(mixed, returned),
        live=_part([node for node in every_time if node not in mixed], returned),
        outputs=tuple(node.name for node in outputs if isinstance(node, fx.Node)),
    )


def _part(nodes: list[fx.Node], returned: Collection[fx.Node]) -> Part:
    inside = set(nodes)
    needs = list(dict.fromkeys(arg for node in nodes for arg in node.all_input_nodes if arg not in inside))
    gives = [node for node in nodes if node in returned or any(user not in inside for user in node.users)]
    graph = fx.Graph()
    new = {node: graph.placeholder(node.name) for node in needs}
    for node in nodes:
        new[node] = graph.node_copy(node, new.__getitem__)
    graph.output(tuple(new[node] for node in gives))
    return Part(fx.GraphModule({}, graph), tuple(n.name for n in needs), tuple(n.name for n in gives))
