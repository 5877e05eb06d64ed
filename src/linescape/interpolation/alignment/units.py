"""The permutations that leave what a network computes as it is, found in the graph of a call.

The units of a layer may come in any order if all that reads them follows: the next layer's inputs, the normalisation,
and in residual networks every layer that adds to the same stream. No architecture is known by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from linescape.engine.graph import Graph
from linescape.geometry.state import State
from linescape.interpolation.alignment.axes import Axis
from linescape.interpolation.alignment.operations import Propagation

Permutations = Mapping[str, np.ndarray]
"""Label of some units -> for each place the unit that comes there ``(count,)``."""


@dataclass(frozen=True)
class Member:
    """An axis of a tensor on which units lie: `inner` neighbours of it belong to one unit."""

    name: str
    axis: int
    inner: int


@dataclass(frozen=True)
class Units:
    """Units that are permuted together.

    Attributes:
        label: the name of the first weight that makes them, or else of the first tensor that has them.
        count: how many there are.
        members: the axes that they lie on, of parameters and buffers.
        values: the results of operations that have them: node, axis, inner.
    """

    label: str
    count: int
    members: tuple[Member, ...]
    values: tuple[tuple[fx.Node, int, int], ...]


@dataclass(frozen=True)
class Structure:
    """What of a network can be permuted.

    Attributes:
        graph: of the call that it was found in.
        unsaved: what the call reads and no state holds, by name.
        units: in the order of the network.
        fixed: name of a weight -> why the order of its first axis is not known to be free, but for outputs.
    """

    graph: Graph
    unsaved: Mapping[str, Tensor]
    units: tuple[Units, ...]
    fixed: Mapping[str, str]

    @property
    def by_tensor(self) -> dict[str, list[tuple[Units, Member]]]:
        """Name of a tensor -> its axes with units."""
        found: dict[str, list[tuple[Units, Member]]] = {}
        for units in self.units:
            for member in units.members:
                found.setdefault(member.name, []).append((units, member))
        return found

    def permuted(self, state: State, permutations: Permutations) -> State:
        """The state with its units in another order; running statistics are permuted too."""
        tensors = {
            name: permuted(state[name], [(member, permutations[units.label]) for units, member in axes])
            for name, axes in self.by_tensor.items()
        }
        return state.replace(tensors)


def permuted(tensor: Tensor, orders: Sequence[tuple[Member, np.ndarray]]) -> Tensor:
    """A tensor with the units on some of its axes in another order."""
    for member, order in orders:
        places = torch.from_numpy(order).to(tensor.device)
        if member.inner > 1:
            places = (places[:, None] * member.inner + torch.arange(member.inner, device=tensor.device)).flatten()
        tensor = tensor.index_select(member.axis, places)
    return tensor


def structure(graph: Graph, unsaved: Mapping[str, Tensor], state: State, inputs: Sequence[Tensor]) -> Structure:
    """What of a network can be permuted, from the graph of a call.

    Args:
        graph: of the call.
        unsaved: what the call reads and no state holds (buffers with ``persistent=False``), by name.
        state: any of the network's, for shapes.
        inputs: the tensors of a call.
    """
    found = Propagation()
    own: dict[str, list[Axis]] = {}
    results: list[tuple[fx.Node, int]] = []
    for node, values in run(graph, {**unsaved, **state.state_dict()}, inputs):
        value = values.get(node)
        if node.op == "placeholder":
            name = graph.weights.get(node.name)
            if name is not None and node.users and (name := state.tied.get(name, name)) in state:
                axes = own.setdefault(name, [found.axes.new(side) for side in state[name].shape])
                found.placeholder(node, axes)
            else:
                found.placeholder(node, [None] * (value.ndim if isinstance(value, Tensor) else 0))
        elif node.op == "output":
            found.output(node.all_input_nodes)
        else:
            found.call(node, values)
            if isinstance(value, Tensor):
                results += [(node, axis) for axis in range(value.ndim)]
    on_values: dict[int, list[tuple[fx.Node, int, int]]] = {}
    for node, place in results:
        axes = found.of_values[node]
        if axes is not None and (at := found.axes.find(axes[place])) is not None:
            on_values.setdefault(at[0], []).append((node, place, at[1]))
    members: dict[int, list[Member]] = {number: [] for number in on_values}
    for name, axes in own.items():
        for place, axis in enumerate(axes):
            if (at := found.axes.find(axis)) is not None:
                members.setdefault(at[0], []).append(Member(name, place, at[1]))
    units = tuple(
        Units(_label(of, state), found.axes.sizes[number], tuple(of), tuple(on_values.get(number, ())))
        for number, of in members.items()
        if of
    )
    reasons = {name: found.axes.reason(axes[0]) for name, axes in own.items() if axes and len(axes) > 1}
    return Structure(graph, unsaved, units, {name: reason for name, reason in reasons.items() if reason})


def _label(members: Sequence[Member], state: State) -> str:
    makers = [m.name for m in members if m.axis == 0 and sum(side > 1 for side in state[m.name].shape) > 1]
    return (makers or [members[0].name])[0]


def run(
    graph: Graph, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor]
) -> Iterator[tuple[fx.Node, Mapping[fx.Node, Any]]]:
    """Run a graph; yields each node with all results that are needed later, its own among them.

    Args:
        graph: of a call.
        tensors: all that it reads of the network, by name.
        inputs: the tensors of a call.
    """
    given = dict(zip(graph.inputs, inputs, strict=True))
    values: dict[fx.Node, Any] = {}
    last = {used: node for node in graph.graph.nodes for used in node.all_input_nodes}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            name = graph.weights.get(node.name)
            values[node] = tensors[name] if name is not None else graph.constants.get(node.name, given.get(node.name))
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            with torch.no_grad():  # not around the loop: two of these generators may take turns
                values[node] = node.target(*args, **kwargs)
        yield node, values
        for used in node.all_input_nodes:
            if last[used] is node:
                del values[used]
