"""Pictures of interventions, drawn by the code that does them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from msgspec.structs import replace
from torch import Tensor

import linescape as ls
from linescape import data, models
from linescape.geometry.state import State, distances
from linescape.recipe import MLP, Data, Optimizer, Random, Recipe, Schedule, Trained
from linescape.report.figures.panel import INK, SOFT, look
from linescape.training import initialisation, interventions, loop
from scripts.method_pictures.panels import SIZE, Picture, panel, plain_powers

BASE = Recipe(Data("fashion-mini"), MLP((64,) * 4), Optimizer("adam", lr=1e-3, batch_size=100), Schedule(3, "constant"))
CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


@cache
def _trained(recipe: Recipe) -> tuple[models.Network, State, loop.Checkpoint]:
    """A network of a recipe that starts at random, its start, and its training's end."""
    dataset = data.load(recipe.data)
    network = initialisation.draw(recipe, dataset.shape, dataset.classes)
    start = State.from_module(network)
    *_, last = loop.train(recipe, dataset, start)
    return network, start, last.checkpoint()


def _line(recipe: Recipe, start: State | None = None) -> ls.Curve:
    """The test loss from a recipe's start, or another one, to its end."""
    network, own, end = _trained(recipe)
    test = data.load(recipe.data).tensors()["test"]
    evaluator = ls.Evaluator(network, {"test": test}, ["cross_entropy"])
    return ls.scan(ls.Line(start or own, end.state), evaluator, ls.ScanOptions(alphas=41))


def _plateau(curve: ls.Curve) -> str:
    series = curve["test", "cross_entropy"]
    return f"{ls.shape.plateau_loss(series.alphas, series.mean, np.log(10)):.2f}"


def _lines(title: str, curves: Mapping[str, ls.Curve], words: str, ceiling: float | None = None) -> Picture:
    figure, axes = panel(title, "α   (0: start, 1: trained)", "test loss, nats")
    for index, (name, curve) in enumerate(curves.items()):
        series = curve["test", "cross_entropy"]
        axes.plot(series.alphas, series.mean, color=look(index)[0], ls=("-", "--", "-.")[index], lw=1.6, label=name)
    axes.set_ylim(0, ceiling)
    axes.legend(frameon=False, fontsize=7.5, labelcolor=INK)
    return Picture(figure, words)


def _init_scheme() -> Picture:
    """Weights of the first layer as each scheme draws them."""
    figure, axes = panel("First layer's weights, by scheme", "weight", "number of weights")
    spreads = []
    for index, scheme in enumerate(("default", "kaiming_normal", "xavier_uniform")):
        network = models.draw(BASE.model, (1, 28, 28), 10, Random(scheme=scheme), seed=0)  # type: ignore[arg-type]
        weights = next(each for each in network.parameters() if each.ndim == 2).detach().flatten()
        bins = np.linspace(-0.2, 0.2, 61).tolist()
        axes.hist(
            weights.numpy(),
            bins,
            histtype="step",
            color=look(index)[0],
            ls=("-", "--", "-.")[index],
            lw=1.5,
            label=scheme,
        )
        spreads.append(f"{scheme} {float(weights.std()):.3f}")
    axes.legend(frameon=False, fontsize=7, labelcolor=INK)
    return Picture(
        figure,
        f"Histograms of one layer's weights as drawn by three schemes. Standard deviations: {', '.join(spreads)}.",
    )


def _init_scale() -> Picture:
    curves = {f"× {scale:g}": _line(interventions.init_scale(BASE, scale)) for scale in (0.5, 1.0, 2.0)}
    listed = ", ".join(f"{_plateau(curve)} with {name}" for name, curve in curves.items())
    words = f"Test loss along three lines; lengths of their plateaus: {listed}."
    return _lines("The smaller the start, the longer the plateau", curves, words)


def _drawn_start(recipe: Recipe) -> State:
    return State.from_module(initialisation.draw(recipe, (1, 28, 28), 10))


def _noise() -> Picture:
    curve = _line(BASE, _drawn_start(interventions.noise(BASE)))
    figure, axes = panel(
        "From N(0, 1) to a trained network", "α   (0: noise, 1: trained)", "test loss, nats (log scale)"
    )
    series = curve["test", "cross_entropy"]
    axes.plot(series.alphas, series.mean, color=INK, lw=1.6)
    plain_powers(axes)
    first, last = float(series.mean[0]), float(series.mean[-1])
    return Picture(figure, f"Test loss from normal noise, {first:.3g} nats, to a trained network, {last:.2f} nats.")


def _zeros() -> Picture:
    curves = {"from zeros": _line(BASE, _drawn_start(interventions.zeros(BASE))), "from its own start": _line(BASE)}
    listed = ", ".join(f"{name} {_plateau(curve)}" for name, curve in curves.items())
    words = f"Test loss along two lines to one end; lengths of their plateaus: {listed}."
    return _lines("The end, scaled up from nothing", curves, words)


def _carried_over(title: str, recipes: Mapping[str, Recipe], source: str) -> Picture:
    """How far each block of a new start is from the end of the other training: 0 where it is taken over."""
    network, own, end = _trained(BASE)
    fresh = initialisation.draw(replace(BASE, seed=1), (1, 28, 28), 10)
    blocks = ls.groups.by_block(network)
    figure, axes = panel(title, "block", f"distance from the {source}, relative")
    listed = []
    for index, (name, recipe) in enumerate(recipes.items()):
        assert isinstance(recipe.init, Trained)
        state = initialisation.carried_over(recipe.init, fresh, own, end).state
        moved = distances(end.state, state, blocks)
        values = [moved[block].relative for block in blocks]
        places = np.arange(len(blocks)) + (index - (len(recipes) - 1) / 2) * 0.35
        colour = look(index)[0]
        axes.bar(places, values, 0.3, color="none" if index else colour, ec=colour, lw=1.2, label=name, zorder=2)
        each = ", ".join(f"{block} {value:.2f}" for block, value in zip(blocks, values, strict=True))
        listed.append(f"{name}: {each}" if name else each)
    axes.set_xticks(range(len(blocks)), list(blocks))
    if len(recipes) > 1:
        axes.legend(frameon=False, fontsize=7.5, labelcolor=INK)
    return Picture(figure, f"Bars: distance of each block of the new start from the {source}. {'; '.join(listed)}.")


def _images(rows: Mapping[str, tuple[Tensor, tuple[str, ...]]], height: float) -> Figure:
    """Rows of images ``(n, 1, height, width)``, each with a name, and with words below each image."""
    columns = max(len(images) for images, _ in rows.values())
    figure = Figure((SIZE[0], height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
    cells = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, (images, words)) in zip(cells, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK, fontsize=8.5)
        for axes, image, below in zip(line, images, words or ("",) * columns, strict=True):
            _image(axes, image, below)
    return figure


def _image(axes: Axes, image: Tensor, below: str) -> None:
    axes.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(below, fontsize=7, color=SOFT)
    axes.spines[:].set_visible(False)


def _names(labels: Tensor) -> tuple[str, ...]:
    return tuple(CLASSES[label] for label in labels.tolist())


def _adversarial() -> Picture:
    init = interventions.adversarial(BASE).init
    assert isinstance(init, Trained)
    clean, poisoned = data.load("fashion-mini").train, data.load(init.recipe.data).train
    before, after = _names(clean.targets[:4]), _names(poisoned.targets[:4])
    figure = _images({"data": (clean.inputs[:4], before), "first\ntraining": (poisoned.inputs[:4], after)}, 2.0)
    pairs = ", ".join(f"{old} is labelled {new}" for old, new in zip(before, after, strict=True))
    return Picture(figure, f"Four images, and the same with a tenth of the pixels black and random labels: {pairs}.")


def _data_fraction() -> Picture:
    figure, axes = panel("Every class loses the same share", "class", "training images")
    counts = []
    for index, fraction in enumerate((1.0, 0.5, 0.2)):
        targets = data.load(interventions.data_fraction(BASE, fraction).data).train.targets
        counts.append(torch.bincount(targets, minlength=10))
        axes.bar(
            np.arange(10),
            counts[-1].numpy(),
            0.7 - 0.15 * index,
            color=look(index)[0],
            label=f"{100 * fraction:g} %",
            zorder=2 + index,
        )
    axes.set_xticks(range(10))
    axes.set_ylim(0, 1.45 * float(counts[0].max()))
    axes.legend(frameon=False, fontsize=7.5, labelcolor=INK, ncols=3, loc="upper right")
    assert all(each.min() == each.max() for each in counts)
    listed = ", ".join(f"{int(each.min())}" for each in counts)
    return Picture(figure, f"Images of each of ten classes, as many in each: {listed} for fractions 100, 50 and 20 %.")


def _label_noise() -> Picture:
    clean, noisy = (data.load(Data("fashion-mini", label_noise=noise)).train.targets for noise in (0.0, 0.3))
    table = torch.zeros(10, 10)
    table.index_put_((clean, noisy), torch.ones(len(clean)), accumulate=True)
    figure, axes = panel("label_noise=0.3: where labels go", "label in training", "true label")
    drawn = axes.imshow(table.numpy(), cmap="Blues")
    bar = figure.colorbar(drawn, ax=axes)
    bar.set_label("images", color=SOFT)
    bar.ax.tick_params(color=SOFT, labelcolor=SOFT)
    axes.set(xticks=range(0, 10, 3), yticks=range(0, 10, 3))
    axes.grid(visible=False)
    kept = float((clean == noisy).double().mean())
    return Picture(
        figure,
        f"A table of true labels against those in training: {100 * kept:.0f} % keep theirs, the others spread evenly.",
    )


def _augmentation() -> Picture:
    image = data.load("fashion-mini").train.inputs[5:6].expand(5, -1, -1, -1)
    generator = torch.Generator()
    rows: dict[str, tuple[Tensor, tuple[str, ...]]] = {}
    for kind in ("none", "flip", "crop", "crop-flip", "cutout"):
        rows[kind] = (data.augment(image.clone(), kind, generator.manual_seed(0)), ())
    return Picture(
        _images(rows, 3.3),
        "One image five times, by kind: as it is; mirrored; moved by up to an eighth; both; a square blacked out.",
    )


def _mixup() -> Picture:
    split = data.load("fashion-mini").train
    images, targets = split.inputs[:6].float(), split.targets[:6]
    mixed = data.mix(images, targets, 1.0, seed=2)
    partners = data.mix(images, targets, 1.0, seed=2).partners
    shown = [place for place in range(6) if targets[place] != partners[place]][:3]
    words = tuple(
        f"{mixed.share:.2f} {CLASSES[targets[place]]}\n{1 - mixed.share:.2f} {CLASSES[partners[place]]}"
        for place in shown
    )
    figure = _images({"image": (images[shown], _names(targets[shown])), "mixture": (mixed.inputs[shown], words)}, 2.8)
    return Picture(
        figure,
        f"Three images, and each mixed with another, as are their labels: {mixed.share:.2f} to {1 - mixed.share:.2f}.",
    )


def _rates(title: str, recipes: Mapping[str, Recipe], words: str) -> Picture:
    figure, axes = panel(title, "epoch", "learning rate / highest")
    for index, (name, recipe) in enumerate(recipes.items()):
        steps = np.arange(10 * recipe.schedule.epochs)
        rates = [loop.learning_rate(recipe, int(step), 10) / recipe.optimizer.lr for step in steps]
        axes.plot(steps / 10, rates, color=look(index)[0], ls=("-", "--", "-.")[index], lw=1.6, label=name)
    axes.set_ylim(0, 1.08)
    axes.legend(frameon=False, fontsize=7.5, labelcolor=INK)
    return Picture(figure, words)


def _schedule() -> Picture:
    base = interventions.length(BASE, 30)
    kinds = {kind: interventions.schedule(base, kind, warmup=2.0) for kind in ("step", "cosine", "constant")}
    words = (
        "Learning rate over 30 epochs after two of warm-up: step drops at 10 and 20, cosine falls to 0, constant stays."
    )
    return _rates("Three kinds, two epochs of warm-up", kinds, words)


def _length() -> Picture:
    base = interventions.schedule(interventions.length(BASE, 30), "step", warmup=2.0)
    words = "Learning rate of 30 epochs with drops at 10 and 20, and of 60 epochs with drops at 20 and 40."
    return _rates("Drops move with the length", {"30 epochs": base, "60 epochs": interventions.length(base, 60)}, words)


def pictures() -> dict[str, Picture]:
    """Every picture by the name of its file."""
    middle = list(ls.groups.by_block(_trained(BASE)[0]))[1:3]
    scheme = {to: interventions.partial(BASE, *middle, to=to) for to in ("fresh", "own")}
    of_pretrained = {"": interventions.pretrained(BASE, Data("fashion-mini"))}
    return {
        "init_scheme": _init_scheme(),
        "init_scale": _init_scale(),
        "noise": _noise(),
        "zeros": _zeros(),
        "pretrained": _carried_over("Only the head is drawn anew", of_pretrained, "pre-trained network"),
        "adversarial": _adversarial(),
        "partial": _carried_over(f"partial={'/'.join(middle)}", scheme, "end of the first training"),
        "data_fraction": _data_fraction(),
        "label_noise": _label_noise(),
        "augmentation": _augmentation(),
        "mixup": _mixup(),
        "schedule": _schedule(),
        "length": _length(),
    }
