"""The interventions of the study: each level changes the base training in one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from linescape.recipe import Recipe, Weights
from linescape.studies.vlaar2022.scales import Scale, Transfer
from linescape.training import interventions

DECAYS = (5e-5, 1e-4, 1e-3)
"""Weight decays of the source other than 0 and 5e-4; a scale multiplies them, see `Scale.decay_factor`."""

EVEN, ODD = (0, 2, 4, 6, 8), (1, 3, 5, 7, 9)
"""Two tasks of five classes each."""


@dataclass(frozen=True)
class Level:
    """One level of one intervention, which becomes an arm with runs of several seeds.

    Attributes:
        name: of the arm.
        group: of interventions.
        title: for tables and legends.
        change: makes its recipe from the base recipe of a seed.
        baseline: name of the level that it is compared with.
        layers: whether layer-wise lines are walked.
        fine: whether lines of single convolutions are walked.
        elsewhere: whether the line from its end to the start of another run of its baseline is walked.
    """

    name: str
    group: str
    title: str
    change: Callable[[Recipe], Recipe]
    baseline: str = "base"
    layers: bool = False
    fine: bool = False
    elsewhere: bool = False


def levels(scale: Scale) -> tuple[Level, ...]:
    """The levels of all arms except the warm-up, in the order of the report."""
    return (
        Level("base", "base", "from scratch", lambda r: r, layers=True, fine=True, elsewhere=True),
        *_starts(scale),
        *_data(),
        *_optimizers(scale),
        *_models(scale),
        *_partial(scale),
    )


def _no_decay(recipe: Recipe) -> Recipe:
    return interventions.weight_decay(recipe, 0.0)


def _even(recipe: Recipe) -> Recipe:
    return replace(recipe, data=replace(recipe.data, classes=EVEN))


def _from_odd(recipe: Recipe, *reset: str) -> Recipe:
    return interventions.pretrained(_even(recipe), replace(recipe.data, classes=ODD), reset)


NO_DECAY = "no-weight-decay"


def _starts(scale: Scale) -> tuple[Level, ...]:
    def adversarial(recipe: Recipe) -> Recipe:
        return interventions.adversarial(
            _no_decay(recipe),
            epochs=scale.poisoned_epochs,
            fraction=scale.poisoned_fraction,
            until_error=scale.poisoned_until,
        )

    from_imagenet = [
        Level(
            "pretrained-imagenet",
            "initialisation",
            "pre-trained on ImageNet",
            _instead_of_start(imagenet),
            layers=True,
            elsewhere=True,
        )
        for imagenet in filter(None, (scale.imagenet,))
    ]
    return (
        *from_imagenet,
        Level("adversarial", "initialisation", "random labels first, no weight decay", adversarial, NO_DECAY),
        Level(
            "barrier-restart",
            "initialisation",
            "started at the barrier, no weight decay",
            lambda r: interventions.restart_at_barrier(_no_decay(r)),
            NO_DECAY,
        ),
        Level("half", "initialisation", "five classes, from scratch", _even, "half"),
        Level(
            "half-pretrained",
            "initialisation",
            "five classes, pre-trained on the other five",
            _from_odd,
            "half",
            elsewhere=True,
        ),
        *(level for name, pair in scale.transfers.items() for level in _transferred(name, pair)),
    )


def _transferred(name: str, pair: Transfer) -> tuple[Level, Level]:
    """A network from scratch, and one that is pre-trained on other data."""
    level = partial(Level, group="initialisation", baseline=pair.scratch, layers=pair.layers, elsewhere=pair.elsewhere)
    return (
        level(name=pair.scratch, title=pair.scratch_title, change=_instead(pair.recipe)),
        level(name=name, title=pair.title, change=_instead(pair.recipe, pair.change)),
    )


def _instead(other: Recipe, change: Callable[[Recipe], Recipe] = lambda r: r) -> Callable[[Recipe], Recipe]:
    return lambda recipe: change(replace(other, seed=recipe.seed))


def _data() -> tuple[Level, ...]:
    return (
        Level("data-20", "data", "20 % of the data", lambda r: interventions.data_fraction(r, 0.2), layers=True),
        Level("data-50", "data", "50 % of the data", lambda r: interventions.data_fraction(r, 0.5), layers=True),
        Level(
            "no-augmentation", "data", "no augmentation", lambda r: interventions.augmentation(r, "none"), layers=True
        ),
        Level("label-noise-20", "data", "20 % of labels wrong", lambda r: interventions.label_noise(r, 0.2)),
        Level("mixup", "data", "mixup", interventions.mixup),
    )


def _optimizers(scale: Scale) -> tuple[Level, ...]:
    def decay(value: float) -> Level:
        scaled = value * scale.decay_factor
        title = f"weight decay {_short(value)}" + (f" (here {scaled:.2g})" if scale.decay_factor != 1 else "")
        return Level(f"weight-decay-{_short(value)}", "optimizer", title, _with(interventions.weight_decay, scaled))

    def rate(value: float) -> Level:
        return Level(
            f"lr-{value:g}", "optimizer", f"learning rate {value:g}", _with(interventions.learning_rate, value)
        )

    return (
        Level(NO_DECAY, "optimizer", "no weight decay", _no_decay),
        *(decay(value) for value in DECAYS),
        *(rate(value) for value in scale.rates),
        Level(
            f"batch-{scale.batch_size}",
            "optimizer",
            f"batch size {scale.batch_size}",
            lambda r: interventions.batch_size(r, scale.batch_size),
        ),
        Level("no-momentum", "optimizer", "no momentum", lambda r: interventions.momentum(r, 0.0)),
        Level(
            "double-length", "optimizer", "twice the epochs", lambda r: interventions.length(r, 2 * r.schedule.epochs)
        ),
        Level(
            "adam",
            "optimizer",
            f"Adam, learning rate {scale.adam_rate:g}, no weight decay",
            lambda r: interventions.optimizer(_no_decay(r), "adam", scale.adam_rate),
            NO_DECAY,
        ),
    )


def _models(scale: Scale) -> tuple[Level, ...]:
    rate = scale.fixup_rate
    return (
        *(
            Level(f"depth-{depth}", "model", f"{depth} layers", _with(interventions.depth, depth), layers=True)
            for depth in scale.depths
        ),
        *(
            Level(f"width-{width}", "model", f"width {width}", _with(interventions.width, width))
            for width in scale.widths
        ),
        Level(
            "no-norm",
            "model",
            f"no normalisation (Fixup), learning rate {rate:g}",
            lambda r: interventions.learning_rate(interventions.norm(r, "none"), rate),
            f"lr-{rate:g}",
        ),
        Level("no-skips", "model", "no residual connections", lambda r: interventions.skips(r, False)),
        Level("vgg", "model", f"VGG-{scale.vgg.depth}", lambda r: replace(r, model=scale.vgg)),
    )


def _partial(scale: Scale) -> tuple[Level, ...]:
    """T-All but RI-k and variants: back to the training's start, two blocks at once, and pre-trained blocks (PT)."""
    stages = [block for block in scale.blocks if block.startswith("layer")]
    last = len(stages)

    def but(name: str, title: str, *blocks: str, own: bool = False) -> Level:
        return Level(name, "partial", title, lambda r: interventions.partial(r, *blocks, to="own" if own else "fresh"))

    return (
        *(
            but(f"partial-{k}", f"T-All but RI-{k} (starts trained, {stage} afresh)", stage)
            for k, stage in enumerate(stages, 1)
        ),
        but(f"partial-{last}-own", f"T-All but RI-{last}, to its own start", stages[-1], own=True),
        but(f"partial-{last - 1}-{last}", f"T-All but RI-{last - 1} and RI-{last}", *stages[-2:]),
        *(
            Level(
                f"half-pretrained-but-{k}",
                "partial",
                f"five classes, PT-All but RI-{k}",
                _with(_from_odd, stages[k - 1]),
                "half",
            )
            for k in (1, last)
        ),
        *(
            Level(
                f"pretrained-imagenet-but-{k}",
                "partial",
                f"PT-All but RI-{k}, pre-trained on ImageNet",
                _instead_of_start(replace(imagenet, reset=(*imagenet.reset, stages[k - 1]))),
            )
            for imagenet in filter(None, (scale.imagenet,))
            for k in (1, last)
        ),
    )


def _instead_of_start(init: Weights) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, init=init)


def _with(change: Callable[..., Recipe], *values: object) -> Callable[[Recipe], Recipe]:
    return lambda recipe: change(recipe, *values)


def _short(value: float) -> str:
    """A number as the source writes it: 5e-4, not 0.0005."""
    return f"{value:.0e}".replace("e-0", "e-")
