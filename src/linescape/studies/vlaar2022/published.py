"""What Vlaar & Frankle (2022) published, to be compared with what is measured. Data only.

Source: arXiv 2106.16004 (ICML 2022). Accuracies are from the authors' slides and poster, which do not say what the
numbers after ± are. Curves are read off the authors' vector figures; where several runs are drawn, the values are
means unless said otherwise, and `RANGES` give the lowest and the highest of them. Learning rate, batch size,
augmentation and stem of the networks are not published, so no setting here is known to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from linescape.recipe import Recipe
from linescape.studies.study import Study

SOURCE = "Vlaar & Frankle 2022, arXiv 2106.16004"
STUDY = "vlaar2022"
STATED = "stated in the authors' slides or poster"
DECAY_SUM = 7.16
"""`loop.decay_sum` of the base training, if its learning rate is 0.1 and its batch size 128: neither is published."""
ELSEWHERE = "to another start"
"""The label of the line from a trained end (alpha = 0) to the random start of another run (alpha = 1)."""
DIGITISED = "digitised from the authors' vector figures, reading error 0.001 to 0.005"


@dataclass(frozen=True)
class Setting:
    """How published numbers were made, as far as that is known.

    Attributes:
        network: in words.
        data: the set's name in `recipe.Data`.
        width, epochs: as in `recipe`; 0 is not known.
    """

    network: str
    data: str
    width: int = 0
    epochs: int = 0

    def __str__(self) -> str:
        known = ((self.width, f"width {self.width}"), (self.epochs, f"{self.epochs} epochs"))
        return ", ".join([self.network, self.data, *(words for value, words in known if value)])

    def differs(self, recipe: Recipe) -> str:
        """The settings in which a recipe differs from this, in words; empty if none that is known does."""
        width = getattr(recipe.model, "width", 0)
        return ", ".join(
            f"{name} {here} instead of {there}"
            for name, here, there in (("width", width, self.width), ("epochs", recipe.schedule.epochs, self.epochs))
            if there and here != there
        )


@dataclass(frozen=True)
class Accuracy:
    """Test accuracy of an arm in %, and the number after ± (None where there is none)."""

    arm: str
    value: float
    spread: float | None
    setting: Setting
    how: str = STATED


@dataclass(frozen=True)
class Line:
    """Mean test loss over runs, in nats, at some positions of a line; `label` as in `study.Run.lines`."""

    arm: str
    label: str
    alphas: tuple[float, ...]
    losses: tuple[float, ...]
    setting: Setting
    how: str = DIGITISED


@dataclass(frozen=True)
class Range:
    """The lowest and the highest of 10 runs' lines on test loss.

    `quantity` is ``start`` (loss at alpha = 0), ``loss`` (everywhere on `between`), ``highest`` (loss), ``end`` (loss
    at alpha = 1), in nats, or a statistic of `linescape.shape`. A `low` of None: only an upper bound
    is known. `label` as in `study.Run.lines`; `between` two positions, the same one twice for a single position.
    """

    arm: str
    quantity: str
    low: float | None
    high: float
    setting: Setting
    how: str = DIGITISED
    label: str = "whole"
    between: tuple[float, float] = (0.0, 1.0)


_RESNET18 = Setting("ResNet-18", "cifar10", 64, 100)
_RESNET50 = Setting("ResNet-50", "cifar100", 64, 100)
_IMAGES = Setting("MLP of 2 hidden layers, Adam", "mnist")
_SPIRAL = Setting("MLP of 2 hidden layers, Adam, a spiral whose form is not published", "spiral")

ACCURACIES = (
    Accuracy("base", 92.2, 0.2, _RESNET18),
    Accuracy("pretrained-imagenet", 92.6, None, _RESNET18),
    Accuracy("partial-1", 91.79, 0.23, _RESNET18),
    Accuracy("partial-2", 91.83, 0.21, _RESNET18),
    Accuracy("partial-3", 92.35, 0.20, _RESNET18),
    Accuracy("partial-4", 90.97, 0.31, _RESNET18),
    Accuracy("cifar100-resnet50", 70.4, None, _RESNET50),
    Accuracy("cifar100-resnet50-imagenet", 77.3, None, _RESNET50),
)

_LAYERS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)

LINES = (
    Line(
        "base",
        "whole",
        (0.0, 0.02, 0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.96, 0.98, 1.0),
        (2.771, 2.543, 2.43, 2.320, 2.30, 2.30, 2.30, 2.30, 2.30, 2.31, 2.31, 2.32, 2.319, 2.256, 0.338),
        _RESNET18,
    ),
    Line(
        "base",
        "layer1",
        _LAYERS,
        (5.48, 4.81, 4.05, 3.09, 2.28, 1.72, 1.37, 1.15, 0.97, 0.78, 0.60, 0.44, 0.338),
        _RESNET18,
    ),
    Line(
        "base",
        "layer2",
        _LAYERS,
        (7.74, 7.32, 5.78, 4.68, 4.63, 4.65, 4.82, 5.04, 5.05, 4.24, 2.60, 0.97, 0.338),
        _RESNET18,
    ),
    Line(
        "base",
        "layer3",
        _LAYERS,
        (3.84, 2.98, 2.33, 1.89, 1.66, 1.64, 1.82, 2.09, 2.32, 2.38, 2.07, 1.16, 0.338),
        _RESNET18,
    ),
    Line(
        "base",
        "layer4",
        _LAYERS,
        (2.03, 1.98, 1.92, 1.86, 1.81, 1.79, 1.78, 1.79, 1.80, 1.76, 1.64, 1.36, 0.338),
        _RESNET18,
    ),
    Line(
        "base",
        "fc",
        _LAYERS,
        (2.13, 1.34, 0.78, 0.46, 0.32, 0.27, 0.26, 0.27, 0.29, 0.31, 0.33, 0.33, 0.338),
        _RESNET18,
    ),
    Line(
        "pretrained-imagenet",
        "whole",
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.94, 0.98, 1.0),
        (2.381, 2.274, 2.186, 2.077, 1.924, 1.705, 1.379, 0.905, 0.449, 0.346, 0.309, 0.329),
        _RESNET18,
    ),
    Line("pretrained-imagenet", ELSEWHERE, (0.02, 0.1), (2.50, 2.30), _RESNET18),  # from the trained end; about 0.1
    Line(
        "cifar100-resnet50-imagenet",
        "whole",
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.96, 1.0),
        (4.579, 4.448, 4.221, 3.813, 3.177, 2.412, 1.744, 1.287, 1.036, 0.986, 1.001),
        _RESNET50,
    ),
    Line(
        "cifar100-resnet50",
        "whole",
        (0.1, 0.2, 0.96, 0.98, 1.0),
        (4.765, 4.606, 4.627, 4.559, 1.339),  # 0.2 and 0.96: ends of the plateau, whose range is in `RANGES`
        _RESNET50,
    ),
    Line(
        "mlp-mnist",
        "whole",
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        (2.252, 2.102, 1.814, 1.380, 0.874, 0.454, 0.217, 0.122, 0.097),
        _IMAGES,
    ),
    Line("mlp-mnist", ELSEWHERE, (0.5, 0.8), (1.544, 2.291), _IMAGES),
    Line("mlp-mnist", "start to start", (0.0, 0.5, 1.0), (2.303, 2.303, 2.303), _IMAGES),
)

RANGES = (
    Range("base", "start", 2.47, 3.17, _RESNET18),
    Range("base", "end", 0.327, 0.346, _RESNET18),
    Range("base", "min_delta", None, 0.03, _RESNET18),
    Range("pretrained-imagenet", "start", 2.53, 2.86, _RESNET18),
    Range("pretrained-imagenet", "min_delta", None, 0.09, _RESNET18),
    Range("pretrained-imagenet", "loss", 2.28, 2.59, _RESNET18, label=ELSEWHERE, between=(0.02, 0.02)),
    Range("cifar100-resnet50", "loss", 4.68, 4.90, _RESNET50, between=(0.1, 0.1)),
    Range(
        "cifar100-resnet50",
        "loss",
        4.605,
        4.627,
        _RESNET50,
        f"{DIGITISED}; of single runs or their mean",
        between=(0.2, 0.96),
    ),
    Range("cifar100-resnet50", "end", 1.26, 1.41, _RESNET50),
    Range("cifar100-resnet50", "min_delta", None, 0.04, _RESNET50),
    Range("cifar100-resnet50-imagenet", "start", 4.69, 4.74, _RESNET50),
    Range("cifar100-resnet50-imagenet", "min_delta", None, 0.03, _RESNET50),
    Range("mlp-mnist", "start", 2.30, 2.31, _IMAGES),
    Range("mlp-mnist", "end", 0.099, 0.106, _IMAGES),
    Range("mlp-mnist", "min_delta", None, 0.01, _IMAGES),
    Range("mlp-spiral", "start", 0.69, 0.70, _SPIRAL),
    Range("mlp-spiral", "highest", 0.88, 1.55, _SPIRAL),
    Range("mlp-spiral", "position_of_max", 0.53, 0.67, _SPIRAL),
    Range("mlp-spiral", "min_delta", 0.18, 0.87, _SPIRAL),
    Range("mlp-spiral", "end", None, 0.001, _SPIRAL),
    Range("mlp-spiral", "highest", 1.93, 4.96, _SPIRAL, label=ELSEWHERE),
    Range("mlp-spiral", "position_of_max", 0.24, 0.37, _SPIRAL, label=ELSEWHERE),
    Range("mlp-spiral", "end", 0.692, 0.700, _SPIRAL, label=ELSEWHERE),
)


FINDINGS = {
    "shape-and-accuracy": "no, the shape of the linear path is not a reliable indicator of final test accuracy",
    "distance-and-monotonicity": "no, the distance is not a reliable indicator of lines that are not monotone",
    "start-and-barrier": "yes, ImageNet pre-training removes barriers and adversarial starts increase them",
    "interventions-and-shape": (
        "initialisation, data, optimizer and model all change the shape, but not in step with test accuracy (in our "
        "words)"
    ),
    "partial-pretraining": "it can: 90.97 ± 0.31 % with block 4 set back to random, 92.2 ± 0.2 % from scratch",
}
"""What the source answers, by the name of an answer of `linescape.analysis.answers`; the first four from its text
and figures, the last stated in its slides and poster."""


def of_source(study: Study) -> bool:
    """Whether a study repeats this work."""
    return study.name == STUDY and bool(study.source)  # one's own study may have this name


_Published = TypeVar("_Published", Accuracy, Line, Range)


def of(study: Study, published: Iterable[_Published]) -> list[_Published]:
    """Those that are about an arm of this study on the same data set; none where the study repeats another work."""
    if not of_source(study):
        return []
    data = {arm.name: arm.runs[0].recipe.data.name for arm in study.arms if arm.runs}
    return [entry for entry in published if data.get(entry.arm) == entry.setting.data]
