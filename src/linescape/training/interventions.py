"""Interventions: functions from a recipe to one that differs in one respect.

Levels and findings are those of Vlaar & Frankle 2022 (arXiv 2106.16004), where no other source is named. On a command
line an intervention is a text: ``weight_decay=0``, ``optimizer=adam,lr=0.001``, ``partial=layer1,to=own``; see `apply`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec
from msgspec.structs import replace

from linescape import data, models
from linescape.errors import RecipeError, suggest
from linescape.geometry.groups import by_block
from linescape.recipe import (
    LSTM,
    MLP,
    VGG,
    Barrier,
    Data,
    EfficientNetLite,
    LeNet,
    LoRA,
    Model,
    Norm,
    Optimizer,
    OwnModel,
    Poison,
    Random,
    Recipe,
    ResNet,
    Schedule,
    Scheme,
    Trained,
    Weights,
    title,
    typed,
)
from linescape.training import weight_files

Intervention = Callable[..., Recipe]

# -- initialisation: where training starts ----------------------------------------------------------------------


def init_scheme(recipe: Recipe, scheme: Scheme) -> Recipe:
    """Draw the start by another scheme (Lucas et al. 2021, arXiv 2104.11044, compare default, Xavier and Kaiming)."""
    return replace(recipe, init=replace(_random(recipe, "scheme"), scheme=scheme))


def init_scale(recipe: Recipe, scale: float) -> Recipe:
    """Multiply the drawn weights: plateaus grow as the start gets smaller (Wang et al. 2023, arXiv 2210.01019)."""
    return replace(recipe, init=replace(_random(recipe, "scale"), scale=scale))


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

    A network with updates of LoRA is pre-trained without them.

    Args:
        recipe: the training that is changed.
        on: the other data; other labels of the same set are another task.
        reset: blocks that are drawn anew in addition to the head (PT-All but RI-k); on a command line divided by
            slashes, as in layer1/layer2.
        changes: further fields of the other training's recipe, such as ``schedule``, or ``seed=0`` for the same
            pre-trained network in all replicates.
    """
    _check_blocks(recipe.model, reset)
    model = recipe.model.model if isinstance(recipe.model, LoRA) else recipe.model
    other = replace(recipe, **{"data": on, "model": model, **changes})
    head = (models.HEAD,) if models.HEAD in _blocks(recipe.model) else ()  # of one's own network the caller names it
    return replace(recipe, init=Trained(other, reset=(*reset, *head)))


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
    file = Path(path).resolve() if Path(path).is_file() else weight_files.find(path)
    portable = file.parent == weight_files.folder()
    spec = Weights(file.name if portable else str(file), weight_files.digest(file), reset)
    network = models.outline(recipe.model, *data.form(recipe.data))
    weight_files.tensors_for(weight_files.read(spec), network, reset)
    return replace(recipe, init=spec)


def adversarial(
    recipe: Recipe,
    copies: int = 1,
    zeroed: float = 0.1,
    epochs: int = 350,
    lr: float = 0.1,
    fraction: float = 1.0,
    until_error: float = 0.01,
) -> Recipe:
    """Start from the end of a training on random labels, including BatchNorm's statistics.

    Source: Liu, Papailiopoulos & Achlioptas 2020 (arXiv 1906.02613, section 3): copies of the training images with a
    tenth of the pixels zeroed and random labels; SGD without momentum, weight decay and augmentation, until the
    labels are learnt. The target study then trains without weight decay; for that apply it to
    ``weight_decay(recipe, 0)``.

    Args:
        recipe: the training that is changed.
        copies: poisoned copies of each image (1 in the source).
        zeroed: fraction of pixels that are zeroed (0.1 in the source).
        epochs: maximal epochs of the pre-training (350 in the source); the learning rate is divided by 10 at 3/7 and at
            5/7 of them (150 and 250).
        lr: learning rate of the pre-training (0.1 in the source).
        fraction: share of the training images that is poisoned (all in the source): random labels of fewer images
            can be learnt by a smaller network in fewer steps.
        until_error: the pre-training ends after the first epoch with at most this training error on the random labels,
            in % (0.01 in the source: 99.99 % accuracy).
    """
    other = replace(
        recipe,
        data=replace(recipe.data, poison=Poison(copies, zeroed), augment="none", mixup=0.0, fraction=fraction),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.0, batch_size=recipe.optimizer.batch_size),
        schedule=Schedule(epochs, "step", _within(epochs, epochs * 3 / 7, epochs * 5 / 7), until_error=until_error),
    )
    return replace(recipe, init=Trained(other))


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

    The source does not say whether it draws anew, nor whether it resets statistics and optimizer, so each is a choice.

    Args:
        recipe: both trainings.
        blocks: names of the model's blocks.
        to: ``fresh`` draws them anew, ``own`` restores their values before the first training.
        statistics: also reset the running statistics of norm layers in them.
        optimizer: start the second training with a ``new`` optimizer, or with the ``kept`` one.
    """
    _check_blocks(recipe.model, blocks or ("",))
    return replace(recipe, init=Trained(recipe, blocks, to, statistics, optimizer))


# -- data -------------------------------------------------------------------------------------------------------


def data_fraction(recipe: Recipe, fraction: float) -> Recipe:
    """Keep a class-balanced fraction of the training examples (20 % and 50 %)."""
    return replace(recipe, data=replace(recipe.data, fraction=fraction))


def label_noise(recipe: Recipe, fraction: float) -> Recipe:
    """Move a fraction of the training labels to another class (Zhang et al. 2017, arXiv 1611.03530)."""
    return replace(recipe, data=replace(recipe.data, label_noise=fraction))


def augmentation(recipe: Recipe, kind: Literal["none", "flip", "crop", "crop-flip", "cutout"]) -> Recipe:
    """Change how training images are varied (``none`` against crop and flip)."""
    return replace(recipe, data=replace(recipe.data, augment=kind))


def mixup(recipe: Recipe, strength: float = 1.0) -> Recipe:
    """Train on mixtures of pairs of images, shares from Beta(strength, strength) (Zhang et al. 2018, 1710.09412)."""
    return replace(recipe, data=replace(recipe.data, mixup=strength))


# -- optimizer --------------------------------------------------------------------------------------------------


def weight_decay(recipe: Recipe, value: float) -> Recipe:
    """Change weight decay (0, 5e-5, 1e-4, 5e-4, 1e-3); all parameters decay, as torch has it."""
    return replace(recipe, optimizer=replace(recipe.optimizer, weight_decay=value))


def learning_rate(recipe: Recipe, value: float) -> Recipe:
    """Change the learning rate (Lucas et al. 2021, arXiv 2104.11044, from 0.001 to 3)."""
    return replace(recipe, optimizer=replace(recipe.optimizer, lr=value))


def batch_size(recipe: Recipe, value: int) -> Recipe:
    """Change the batch size, and nothing else."""
    return replace(recipe, optimizer=replace(recipe.optimizer, batch_size=value))


def momentum(recipe: Recipe, value: float) -> Recipe:
    """Change SGD's momentum, or the first beta of Adam and AdamW."""
    return replace(recipe, optimizer=replace(recipe.optimizer, momentum=value))


def optimizer(recipe: Recipe, name: Literal["sgd", "adam", "adamw"], lr: float | None = None) -> Recipe:
    """Change the optimizer; without `lr` the learning rate is the same, which rarely suits both SGD and Adam."""
    changed = replace(recipe, optimizer=replace(recipe.optimizer, name=name))
    return changed if lr is None else learning_rate(changed, lr)


def schedule(recipe: Recipe, kind: Literal["step", "cosine", "constant"], warmup: float | None = None) -> Recipe:
    """Change the course of the learning rate; ``step`` drops at a third and at two thirds (33 and 66 of 100 epochs)."""
    epochs = recipe.schedule.epochs
    drops = (recipe.schedule.drops or (epochs // 3, 2 * epochs // 3)) if kind == "step" else ()
    rising = recipe.schedule.warmup if warmup is None else warmup
    factor = recipe.schedule.factor if kind == "step" else Schedule().factor
    changed = replace(recipe.schedule, kind=kind, drops=drops, factor=factor, warmup=rising)
    return replace(recipe, schedule=changed)


def length(recipe: Recipe, epochs: int) -> Recipe:
    """Change the number of epochs; drops of the learning rate and warm-up move in proportion."""
    old = recipe.schedule
    share = epochs / old.epochs if old.epochs else 1.0
    drops = _within(epochs, *(drop * share for drop in old.drops))
    return replace(recipe, schedule=replace(old, epochs=epochs, drops=drops, warmup=old.warmup * share))


def _within(epochs: int, *drops: float) -> tuple[int, ...]:
    """Drops of the learning rate at whole epochs; in a very short training not all come."""
    return tuple(drop for drop in map(round, drops) if drop < epochs)


# -- model ------------------------------------------------------------------------------------------------------


def depth(recipe: Recipe, layers: int) -> Recipe:
    """Change the depth (ResNet-18, -34, -50); ResNets of 6n + 2 layers have three stages, those four."""
    if not isinstance(recipe.model, ResNet | VGG):
        raise _impossible(recipe.model, "depth", "ResNet or VGG")
    return replace(recipe, model=replace(recipe.model, depth=layers))


def width(recipe: Recipe, channels: int) -> Recipe:
    """Change the width: channels of the first stage, or units of every hidden layer (MLP: Lucas et al. 2021; LSTM)."""
    model = recipe.model
    if isinstance(model, MLP):
        return replace(recipe, model=replace(model, hidden=(channels,) * len(model.hidden)))
    if isinstance(model, LSTM):
        return replace(recipe, model=replace(model, hidden=channels))
    if isinstance(model, LeNet | EfficientNetLite | LoRA | OwnModel):
        raise _impossible(model, "width", "ResNet, VGG, MLP or LSTM")
    return replace(recipe, model=replace(model, width=channels))


def norm(recipe: Recipe, kind: Norm) -> Recipe:
    """Change the normalisation; a ResNet without any is initialised by Fixup (Zhang et al. 2019, arXiv 1901.09321)."""
    if isinstance(recipe.model, LeNet | LSTM | EfficientNetLite | LoRA | OwnModel):
        raise _impossible(recipe.model, "normalisation", "ResNet, VGG or MLP")
    return replace(recipe, model=replace(recipe.model, norm=kind))


def skips(recipe: Recipe, present: bool) -> Recipe:
    """Leave the residual connections out (``false``), as Li et al. 2018 (arXiv 1712.09913) do."""
    if not isinstance(recipe.model, ResNet):
        raise _impossible(recipe.model, "residual connections", "ResNet")
    return replace(recipe, model=replace(recipe.model, skips=present))


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
    intervention = _BY_NAME.get(name.replace("-", "_"))
    if intervention is None:
        raise RecipeError(f"There is no intervention {name!r}. {suggest(name, _BY_NAME)}")
    return intervention


def apply(recipe: Recipe, text: str) -> Recipe:
    """Apply an intervention as it is typed: ``name``, ``name=value`` or ``name=value,other=value``.

    Values without a name are the intervention's arguments in order; a data set is typed as its name.

    Raises:
        RecipeError: the intervention, an argument or a value is unknown, or impossible for this recipe.
    """
    name, _, rest = text.partition("=")
    function = by_name(name.strip())
    usage = f"Write it as {_usage(function)}."
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    parts = [part for part in typed.split(rest) if part]
    given: list[Any] = []
    for part in (part for part in parts if "=" not in part):
        if not positional:
            raise RecipeError(f"{name} takes no value, but {part!r} was given. {usage}")
        argument = positional[min(len(given), len(positional) - 1)].name
        given.append(_value(name, argument, part, hints[argument], usage))
    try:
        settings = typed.settings((part for part in parts if "=" in part), text, known)
    except RecipeError as error:
        raise RecipeError(f"{error} {usage}") from error
    named = {argument: _value(name, argument, value, hints[argument], usage) for argument, value in settings.items()}
    try:
        inspect.signature(function).bind(recipe, *given, **named)
    except TypeError as error:
        raise RecipeError(f"{text!r} does not fit: {error}. {usage}") from error
    return function(recipe, *given, **named)


def _value(name: str, argument: str, text: str, hint: Any, usage: str) -> Any:
    if hint is Data:
        return Data(text)
    try:
        return typed.convert(text, hint)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{name}: {text!r} is no value for {argument!r} ({error}). {usage}") from error


def _usage(function: Intervention) -> str:
    parts = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        shown = "/".join(default) if isinstance(default, tuple) else default
        parts.append(parameter.name.upper() if default is parameter.empty else f"{parameter.name}={shown}")
    return function.__name__ + ("=" + ",".join(parts) if parts else "")


# -- checks -----------------------------------------------------------------------------------------------------


@cache  # a study asks hundreds of times
def _blocks(model: Model) -> tuple[str, ...]:
    return tuple(by_block(models.outline(model, (3, 32, 32), 10)))


def _check_blocks(model: Model, blocks: tuple[str, ...]) -> None:
    known = _blocks(model)
    for block in blocks:
        if block not in known:
            raise RecipeError(f"{title(model)} has no block {block!r} to set back. {suggest(block, known)}")


def _random(recipe: Recipe, what: str) -> Random:
    if not isinstance(recipe.init, Random):
        raise RecipeError(
            f"The training starts from another training's result or from a file, so its start has no {what}. Apply the "
            "change before that intervention, not after it."
        )
    return recipe.init


def _impossible(model: Model, what: str, which: str) -> RecipeError:
    return RecipeError(f"A {title(model)} has no {what} to change. Use a {which}.")
