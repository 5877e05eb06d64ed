"""The user's own networks: made by their function, and checked before they are trained or walked."""

from __future__ import annotations

import copy
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from linescape.errors import LinescapeError, RecipeError
from linescape.geometry.state import State
from linescape.recipe import OwnModel, user_code

_made: WeakSet[nn.Module] = WeakSet()


def build_own(spec: OwnModel) -> nn.Module:
    """A network of the user's, which shares no part with one that was made before.

    Raises:
        RecipeError: its function cannot be found or raises an error, or what it returns is no new network with weights.
    """
    network = spec.make()
    if not isinstance(network, nn.Module):
        raise RecipeError(f"{spec} returned a {type(network).__name__}. It must return a network, a torch nn.Module.")
    lazy = [name for name, parameter in network.named_parameters() if is_lazy(parameter)]
    if lazy or not any(True for _ in network.parameters()):
        raise RecipeError(
            f"The network of {spec} has "
            + (f"no values for {lazy[0]} yet: its lazy modules must be called once" if lazy else "no parameters")
            + ", so it has no start. Do that in the function that returns it."
        )
    if shared := next((part for part in network.modules() if part in _made), None):
        raise RecipeError(
            f"{spec} returned a network with a {type(shared).__name__} that it had returned before, which may be "
            "trained by now, so it would not start afresh. Make all of the network anew at each call."
        )
    _made.update(network.modules())
    return network


def check_own(spec: OwnModel, network: nn.Module, inputs: Tensor, classes: int) -> None:
    """Raise `RecipeError` if a network cannot be trained on cross entropy, or not be continued from its state.

    A training that was killed continues from the state dict. So a copy that has been called once, and another that
    only took over its state, must give the same outputs under the same random numbers of torch.

    Args:
        spec: the recipe's part, for messages.
        network: the network on the CPU; it is only copied.
        inputs: a few normalised inputs.
        classes: number of labels.
    """
    called, other = copy.deepcopy(network).train(), copy.deepcopy(network).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            outputs = called(inputs.clone())
        except LinescapeError:
            raise
        except Exception as error:
            raise user_code.explained(error, f"The network of {spec}, called with {_form(inputs)},") from error
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[0] != len(inputs):
            given = _form(outputs) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise RecipeError(
                f"The network of {spec} returned {given} for {len(inputs)} inputs. A training minimises cross entropy, "
                "so return logits (batch, classes) as one tensor."
            )
        if not outputs.is_floating_point() or outputs.shape[1] < classes:
            raise RecipeError(
                f"The network of {spec} returned {_form(outputs)}, but the data have {classes} classes. Return a "
                "logit for each class, as floating point numbers."
            )
        State.from_module(called).load_into(other)
        seed = torch.initial_seed()
        again = []
        for copied in (called, other):
            torch.default_generator.manual_seed(seed)
            again.append(copied(inputs.clone()))
    if not torch.equal(*again) and not any(values.isnan().any() for values in again):
        raise RecipeError(
            f"The network of {spec} gives other outputs after it was called once than a new one with the same state. A "
            "training that is interrupted could not continue to the same bits. Keep what changes in buffers "
            "(register_buffer), and draw random numbers from torch, not from random or numpy."
        )


def _form(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
