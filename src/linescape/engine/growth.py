"""How what a call does depends on the number of its examples.

Two and three examples are recorded, and numbers that differ are written as functions of their number. The graph serves
a batch of another size only once a recording of that batch says the same.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from linescape.engine.graph import NotExportable
from linescape.engine.recording import SIMPLE, Recording


class Growth:
    """How a graph depends on the number of examples, from recordings of two and of three.

    Raises:
        NotExportable: these differ in more than numbers.
    """

    def __init__(self, two: Recording, three: Recording) -> None:
        self._calls, self._start = _calls(two)
        calls, numbers = _calls(three)
        if calls != self._calls:
            raise NotExportable("its code does something else for another number of examples")
        self._steps = [number - first for first, number in zip(self._start, numbers, strict=True)]
        self._sizes = {2, 3}

    def known(self, examples: int) -> bool:
        """Whether the graph has been compared with a recording of so many examples."""
        return examples in self._sizes

    def check(self, recording: Recording, examples: int) -> None:
        """Compare the graph with a recording of another number of examples.

        Raises:
            NotExportable: they differ.
        """
        expected = [first + (examples - 2) * step for first, step in zip(self._start, self._steps, strict=True)]
        if _calls(recording) != (self._calls, expected):
            raise NotExportable("its code does something else for another number of examples")
        self._sizes.add(examples)

    def write(self, three: Recording) -> None:
        """Write the numbers in a recording of three examples as ones that grow with the length of its first input."""
        graph = three.graph
        first = next(node for node in graph.nodes if node.name == three.inputs[0])
        operations = [node for node in graph.nodes if node.op != "placeholder"]
        written: dict[tuple[int, int], fx.Node] = {}
        place = iter(zip(self._start, self._steps, strict=True))

        def grown(leaf: Any) -> Any:
            if type(leaf) is not int:
                return leaf
            start, step = next(place)
            return written_as(start - 2 * step, step) if step else leaf

        def written_as(offset: int, step: int) -> fx.Node:
            if (offset, step) not in written:
                with graph.inserting_before(operations[0]):
                    number = graph.call_function(len, (first,))
                    number = number if step == 1 else graph.call_function(operator.mul, (number, step))
                    number = number if offset == 0 else graph.call_function(operator.add, (number, offset))
                written[offset, step] = number
            return written[offset, step]

        for node in operations:
            node.args, node.kwargs = (fx.node.map_aggregate(given, grown) for given in (node.args, node.kwargs))


def _calls(recording: Recording) -> tuple[list[object], list[int]]:
    """What a recording does but for whole numbers, and these."""
    numbers: list[int] = []
    places = {node: place for place, node in enumerate(recording.graph.nodes)}

    def plain(leaf: Any) -> Any:
        if isinstance(leaf, fx.Node):
            return fx.Node, places[leaf]
        if type(leaf) is int:
            numbers.append(leaf)
            return int
        return repr(leaf) if isinstance(leaf, float | complex) else leaf

    calls: list[object] = [
        (node.op, node.target, *(fx.node.map_aggregate(given, plain) for given in (node.args, node.kwargs)))
        for node in recording.graph.nodes
    ]
    calls.append((recording.weights, list(map(id, recording.constants.values())), recording.spec))
    calls.append([(type(answer), repr(answer)) for answer in recording.answers])
    calls.append([repr(leaf) if isinstance(leaf, SIMPLE) else type(leaf) for leaf in recording.outputs])
    return calls, numbers
