"""Interventions: functions from a recipe to a recipe that differs in one thing.

Levels and findings are those of Vlaar & Frankle 2022 (arXiv 2106.16004), where no other source is named. On a command
line an intervention is a text: ``weight_decay=0``, ``optimizer=adam,lr=0.001``, ``partial=layer1,to=own``; see `apply`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import msgspec
import torch
from msgspec.structs import replace

from linescape import data, models
from linescape.errors import RecipeError, suggest
from linescape.recipe import (
    MLP,
    VGG,
    Barrier,
    Data,
    EfficientNetLite,
    LeNet,
    Model,
    Norm,
    Optimizer,
    Poison,
    Random,
    Recipe,
    ResNet,
    Schedule,
    Scheme,
    Trained,
    Weights,
)
from linescape.training import weight_files

Intervention = Callable[..., Recipe]

# -- initialisation: where training starts ----------------------------------------------------------------------


def init_scheme(recipe: Recipe, scheme: Scheme) -> Recipe:
    """Draw the start by another scheme (Lucas et al. 2021, arXiv 2104.11044, compare default, Xavier and Kaiming)."""
    return _checked(replace(recipe, init=replace(_random(recipe, "scheme"), scheme=scheme)))


def init_scale(recipe: Recipe, scale: float) -> Recipe:
    """Multiply the drawn weights: plateaus grow as the start gets smaller (Wang et al. 2023, arXiv 2210.01019)."""
    return _checked(replace(recipe, init=replace(_random(recipe, "scale"), scale=scale)))


def noise(recipe: Recipe) -> Recipe:
    """Every parameter from N(0, 1) (Goodfellow et al. 2015, arXiv 1412.6544, ``lin_interp_random``).

    There it is only the start of the line: walk from this recipe's start to the end of a trained one.
    """
    return init_scheme(recipe, "normal")


def zeros(recipe: Recipe) -> Recipe:
    """Every parameter 0 (Tao, Li & Zhan 2024, PMLR 235:47912): the line is then alpha times the end.

    Only the start of the line; few networks can be trained from it.
    """
    return init_scheme(recipe, "zeros")


def pretrained(recipe: Recipe, on: Data, reset: tuple[str, ...] = (), **changes: Any) -> Recipe:
    """Start from the end of a training on other data, with a fresh head (their ImageNet pre-training).

    Args:
        recipe: the training that is changed.
        on: the other data; other labels of the same set are another task.
        reset: blocks that are drawn anew beside the head (PT-All but RI-k); typed with slashes, as in layer1/layer2.
        changes: fields of the other training that differ too, such as ``schedule``, or ``seed=0`` for one pre-trained
            network in all replicates.
    """
    _check_blocks(recipe.model, reset)
    other = replace(recipe, data=on, **changes)
    return _checked(replace(recipe, init=Trained(other, reset=(*reset, models.HEAD))))


def from_file(recipe: Recipe, path: str, reset: tuple[str, ...] = ("fc",)) -> Recipe:
    """Start from a file, with a fresh head: torchvision's or timm's ImageNet weights, or any checkpoint that fits.

    Args:
        recipe: the training that is changed.
        path: the file, or its name in ``weights/`` in the folder of the data sets.
        reset: blocks that are drawn anew; on a command line ``reset=stem/fc``, or ``reset=`` for none.

    Raises:
        CheckpointError: the file is not there, unreadable, or of another network.
        GroupError: the model has no such block.
    """
    found = Path(path).resolve() if Path(path).is_file() else weight_files.find(path)
    portable = found.parent == weight_files.folder()
    spec = Weights(found.name if portable else str(found), weight_files.digest(found), reset)
    with torch.device("meta"):
        network = models.build(recipe.model, *data.form(recipe.data))
    weight_files.kept(weight_files.read(spec), network, reset)
    return _checked(replace(recipe, init=spec))


def adversarial(
    recipe: Recipe,
    copies: int = 1,
    zeroed: float = 0.1,
    epochs: int = 350,
    lr: float = 0.1,
    fraction: float = 1.0,
    until_error: float = 0.01,
) -> Recipe:
    """Start from the end of a training on random labels, all of it kept, BatchNorm's statistics too.

    Source: Liu, Papailiopoulos & Achlioptas 2020 (arXiv 1906.02613, section 3): copies of the training images with a
    tenth of the pixels zeroed and random labels; SGD without momentum, weight decay and augmentation, until the
    labels are learnt. The target study then trains without weight decay: apply this to ``weight_decay(recipe, 0)``.

    Args:
        recipe: the training that is changed.
        copies: poisoned copies of each image (1 in the source).
        zeroed: fraction of pixels that are zeroed (0.1 in the source).
        epochs: of the pre-training at most (350 in the source); the learning rate is cut to a tenth at 3/7 and at 5/7
            of them (150 and 250).
        lr: learning rate of the pre-training (0.1 in the source).
        fraction: share of the training images that is poisoned (all in the source): random labels of fewer images
            can be learnt by a smaller network in fewer steps.
        until_error: the pre-training ends with the first epoch of at most this training error on the random labels,
            in % (0.01 in the source: 99.99 % accuracy).
    """
    _within("fraction", fraction, 0 < fraction <= 1, "in (0, 1]")
    other = replace(
        recipe,
        data=replace(recipe.data, poison=Poison(copies, zeroed), augment="none", mixup=0.0, fraction=fraction),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.0, batch_size=recipe.optimizer.batch_size),
        schedule=Schedule(epochs, "step", (round(epochs * 3 / 7), round(epochs * 5 / 7)), until_error=until_error),
    )
    return _checked(replace(recipe, init=Trained(other)))


def restart_at_barrier(recipe: Recipe) -> Recipe:
    """Train by this recipe from the top of the highest hump on its own line ("initialise at the barrier")."""
    return replace(recipe, init=Barrier(recipe))


def partial(
    recipe: Recipe,
    *blocks: str,
    to: Literal["fresh", "own"] = "fresh",
    statistics: bool = True,
    optimizer: Literal["new", "kept"] = "new",
) -> Recipe:
    """T-All but RI-k: train, set blocks back to a random start, train again by the same recipe (partial pre-training).

    Whether the source draws anew, and resets statistics and optimizer, is not known: hence the choices.

    Args:
        recipe: both trainings.
        blocks: names of the model's blocks.
        to: ``fresh`` draws them anew, ``own`` puts back what they were before the first training.
        statistics: also reset the running statistics of norm layers in them.
        optimizer: begin the second training with a ``new`` optimizer, or with the ``kept`` one.
    """
    _check_blocks(recipe.model, blocks or ("",))
    return _checked(replace(recipe, init=Trained(recipe, blocks, to, statistics, optimizer)))


# -- data -------------------------------------------------------------------------------------------------------


def data_fraction(recipe: Recipe, fraction: float) -> Recipe:
    """Keep a class-balanced fraction of the training examples (20 % and 50 %)."""
    _within("data_fraction", fraction, 0 < fraction <= 1, "in (0, 1]")
    return _checked(replace(recipe, data=replace(recipe.data, fraction=fraction)))


def label_noise(recipe: Recipe, fraction: float) -> Recipe:
    """Move a fraction of the training labels to another class (Zhang et al. 2017, arXiv 1611.03530)."""
    _within("label_noise", fraction, 0 <= fraction <= 1, "in [0, 1]")
    return _checked(replace(recipe, data=replace(recipe.data, label_noise=fraction)))


def augmentation(recipe: Recipe, kind: Literal["none", "flip", "crop", "crop-flip", "cutout"]) -> Recipe:
    """Change how training images are varied (``none`` against crop and flip)."""
    return _checked(replace(recipe, data=replace(recipe.data, augment=kind)))


def mixup(recipe: Recipe, strength: float = 1.0) -> Recipe:
    """Train on mixtures of pairs of images, shares from Beta(strength, strength) (Zhang et al. 2018, 1710.09412)."""
    _within("mixup", strength, 0 <= strength < math.inf, "0 or more")
    return _checked(replace(recipe, data=replace(recipe.data, mixup=strength)))


# -- optimizer --------------------------------------------------------------------------------------------------


def weight_decay(recipe: Recipe, value: float) -> Recipe:
    """Change weight decay (0, 5e-5, 1e-4, 5e-4, 1e-3); all parameters decay, as torch has it."""
    _within("weight_decay", value, value >= 0, "0 or more")
    return _checked(replace(recipe, optimizer=replace(recipe.optimizer, weight_decay=value)))


def learning_rate(recipe: Recipe, value: float) -> Recipe:
    """Change the learning rate (Lucas et al. 2021, arXiv 2104.11044, from 0.001 to 3)."""
    _within("learning_rate", value, value >= 0, "0 or more")
    return _checked(replace(recipe, optimizer=replace(recipe.optimizer, lr=value)))


def batch_size(recipe: Recipe, value: int) -> Recipe:
    """Change the batch size, and nothing else."""
    _within("batch_size", value, value >= 1, "1 or more")
    return _checked(replace(recipe, optimizer=replace(recipe.optimizer, batch_size=value)))


def momentum(recipe: Recipe, value: float) -> Recipe:
    """Change SGD's momentum, or the first beta of Adam and AdamW."""
    _within("momentum", value, 0 <= value < 1, "in [0, 1)")
    return _checked(replace(recipe, optimizer=replace(recipe.optimizer, momentum=value)))


def optimizer(recipe: Recipe, name: Literal["sgd", "adam", "adamw"], lr: float | None = None) -> Recipe:
    """Change the optimizer; without `lr` the learning rate stays, which rarely suits both SGD and Adam."""
    changed = _checked(replace(recipe, optimizer=replace(recipe.optimizer, name=name)))
    return changed if lr is None else learning_rate(changed, lr)


def schedule(recipe: Recipe, kind: Literal["step", "cosine", "constant"], warmup: float | None = None) -> Recipe:
    """Change the course of the learning rate; ``step`` drops at a third and at two thirds (33 and 66 of 100 epochs)."""
    epochs = recipe.schedule.epochs
    drops = (recipe.schedule.drops or (epochs // 3, 2 * epochs // 3)) if kind == "step" else ()
    rising = recipe.schedule.warmup if warmup is None else warmup
    return _checked(replace(recipe, schedule=replace(recipe.schedule, kind=kind, drops=drops, warmup=rising)))


def length(recipe: Recipe, epochs: int) -> Recipe:
    """Change the number of epochs; drops of the learning rate and warm-up move in proportion."""
    _within("length", epochs, epochs >= 0, "0 or more")
    old = recipe.schedule
    share = epochs / old.epochs if old.epochs else 1.0
    drops = tuple(round(drop * share) for drop in old.drops)
    return _checked(replace(recipe, schedule=replace(old, epochs=epochs, drops=drops, warmup=old.warmup * share)))


# -- model ------------------------------------------------------------------------------------------------------


def depth(recipe: Recipe, layers: int) -> Recipe:
    """Change the depth (ResNet-18, -34, -50); ResNets of 6n + 2 layers have three stages, those four."""
    if not isinstance(recipe.model, ResNet | VGG):
        raise _impossible(recipe.model, "depth", "ResNet or VGG")
    return _checked(replace(recipe, model=replace(recipe.model, depth=layers)))


def width(recipe: Recipe, channels: int) -> Recipe:
    """Change the width: channels of the first stage, or units of every hidden layer of an MLP (Lucas et al. 2021)."""
    model = recipe.model
    if isinstance(model, MLP):
        return _checked(replace(recipe, model=replace(model, hidden=(channels,) * len(model.hidden))))
    if isinstance(model, LeNet | EfficientNetLite):
        raise _impossible(model, "width", "ResNet, VGG or MLP")
    return _checked(replace(recipe, model=replace(model, width=channels)))


def norm(recipe: Recipe, kind: Norm) -> Recipe:
    """Change the normalisation; a ResNet without any is initialised by Fixup (Zhang et al. 2019, arXiv 1901.09321)."""
    if isinstance(recipe.model, LeNet | EfficientNetLite):
        raise _impossible(recipe.model, "normalisation", "ResNet, VGG or MLP")
    return _checked(replace(recipe, model=replace(recipe.model, norm=kind)))


def skips(recipe: Recipe, present: bool) -> Recipe:
    """Leave the residual connections out (``false``), as Li et al. 2018 (arXiv 1712.09913) do."""
    if not isinstance(recipe.model, ResNet):
        raise _impossible(recipe.model, "residual connections", "ResNet")
    return _checked(replace(recipe, model=replace(recipe.model, skips=present)))


# -- by name ----------------------------------------------------------------------------------------------------

_ALL: tuple[Intervention, ...] = (
    init_scheme,
    init_scale,
    noise,
    zeros,
    pretrained,
    from_file,
    adversarial,
    restart_at_barrier,
    partial,
    data_fraction,
    label_noise,
    augmentation,
    mixup,
    weight_decay,
    learning_rate,
    batch_size,
    momentum,
    optimizer,
    schedule,
    length,
    depth,
    width,
    norm,
    skips,
)
_BY_NAME = {function.__name__: function for function in _ALL}


def names() -> tuple[str, ...]:
    """The names of all interventions."""
    return tuple(_BY_NAME)


def by_name(name: str) -> Intervention:
    """An intervention by its name; dashes count as underscores.

    Raises:
        RecipeError: there is none.
    """
    found = _BY_NAME.get(name.replace("-", "_"))
    if found is None:
        raise RecipeError(f"There is no intervention {name!r}. {suggest(name, _BY_NAME)}")
    return found


def apply(recipe: Recipe, text: str) -> Recipe:
    """Apply an intervention as it is typed: ``name``, ``name=value`` or ``name=value,other=value``.

    Values without a name are the intervention's arguments in order; a data set is typed as its name.

    Raises:
        RecipeError: the intervention, an argument or a value is unknown, or impossible for this recipe.
    """
    name, _, typed = text.partition("=")
    function = by_name(name.strip())
    usage = f"Write it as {_usage(function)}."
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    given: list[Any] = []
    named: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in typed.split(","))):
        key, equals, value = part.partition("=")
        if equals:
            if key not in known:
                raise RecipeError(f"{name} has no argument {key!r}. {suggest(key, known)} {usage}")
            named[key] = _typed(name, key, value, hints[key], usage)
        else:
            if not positional:
                raise RecipeError(f"{name} takes no value, but {part!r} was given. {usage}")
            at = positional[min(len(given), len(positional) - 1)]
            given.append(_typed(name, at.name, part, hints[at.name], usage))
    try:
        inspect.signature(function).bind(recipe, *given, **named)
    except TypeError as error:
        raise RecipeError(f"{text!r} does not fit: {error}. {usage}") from error
    return function(recipe, *given, **named)


def _typed(name: str, argument: str, text: str, hint: Any, usage: str) -> Any:
    if hint is Data:
        return Data(text)
    if get_origin(hint) is tuple:
        return tuple(filter(None, text.split("/")))
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{name}: {text!r} is no value for {argument!r} ({error}). {usage}") from error


def _usage(function: Intervention) -> str:
    parts = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        held = parameter.default
        usual = "/".join(held) if isinstance(held, tuple) else held
        parts.append(parameter.name.upper() if held is parameter.empty else f"{parameter.name}={usual}")
    return function.__name__ + ("=" + ",".join(parts) if parts else "")


# -- checks -----------------------------------------------------------------------------------------------------


def _checked(recipe: Recipe) -> Recipe:
    """The recipe, if all its values are of their types and its network can be built."""
    try:
        checked = msgspec.convert(msgspec.to_builtins(recipe), Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"The recipe is impossible: {error}.") from error
    _blocks(checked.model)
    return checked


@cache  # an intervention checks its recipe, and a study makes hundreds
def _blocks(model: Model) -> tuple[str, ...]:
    with torch.device("meta"):
        return tuple(models.build(model, (3, 32, 32), 10).blocks)


def _check_blocks(model: Model, blocks: tuple[str, ...]) -> None:
    known = _blocks(model)
    for block in blocks:
        if block not in known:
            raise RecipeError(f"{type(model).__name__} has no block {block!r} to set back. {suggest(block, known)}")


def _random(recipe: Recipe, what: str) -> Random:
    if not isinstance(recipe.init, Random):
        raise RecipeError(
            f"The training starts from another training's result or from a file, so its start has no {what}. Change it "
            "before that intervention, not after."
        )
    return recipe.init


def _within(name: str, value: float, allowed: bool, where: str) -> None:
    if not allowed:
        raise RecipeError(f"{name} is {value}, but must be {where}.")


def _impossible(model: Model, what: str, which: str) -> RecipeError:
    return RecipeError(f"A {type(model).__name__} has no {what} to change. Use a {which}.")
