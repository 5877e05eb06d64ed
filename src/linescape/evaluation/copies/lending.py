"""Puts a network back as it was: its tensors to the bit, their gradients, modes, attributes and random generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_DEPTH = 4
"""Levels of containers in an attribute that are put back."""


@contextmanager
def put_back(network: nn.Module) -> Iterator[None]:
    """Whatever is done to a network inside is undone at the end, as far as its modules hold it themselves."""
    before = _Before(network)
    try:
        yield
    finally:
        before.restore(network)


class _Before:
    def __init__(self, network: nn.Module) -> None:
        self.mode = network.training
        self.modes = [(layer, layer.training) for layer in network.modules()]
        self.attributes = [(vars(layer), dict(vars(layer))) for layer in network.modules()]
        self.containers: list[tuple[Any, Any]] = []
        self.tensors: dict[int, tuple[Tensor, Tensor]] = {}
        self.generators: list[tuple[Any, Any]] = []
        for _, attributes in self.attributes:
            self._note(attributes, _DEPTH)
        parameters = list(network.parameters())
        self.gradients = [
            (value, value.grad, None if value.grad is None else value.grad.clone()) for value in parameters
        ]

    def _note(self, value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            if not value.is_meta and value.layout == torch.strided and not value.is_quantized:
                self.tensors[id(value)] = value, value.detach().clone()
        elif isinstance(value, torch.Generator):
            self.generators.append((value, value.get_state()))
        elif isinstance(value, np.random.Generator):
            self.generators.append((value, value.bit_generator.state))
        elif isinstance(value, dict | list | set) and depth:
            self.containers.append((value, value.copy()))
            for part in value.values() if isinstance(value, dict) else value:
                self._note(part, depth - 1)

    def restore(self, network: nn.Module) -> None:
        """Put back what was noted."""
        network.train(self.mode)  # first, as the network's own code may do more than set the mode
        for attributes, old in self.attributes:
            if attributes.keys() != old.keys() or any(attributes[name] is not value for name, value in old.items()):
                attributes.clear()
                attributes.update(old)
        for container, items in self.containers:
            if isinstance(container, list):
                container[:] = items
            else:
                container.clear()
                container.update(items)
        with torch.no_grad():
            for tensor, value in self.tensors.values():
                tensor.copy_(value)
            for parameter, gradient, kept in self.gradients:
                parameter.grad = gradient
                if gradient is not None and kept is not None:
                    gradient.copy_(kept)
        for generator, state in self.generators:
            if isinstance(generator, torch.Generator):
                generator.set_state(state)
            else:
                generator.bit_generator.state = state
        for layer, mode in self.modes:
            layer.training = mode
