"""linescape: what lies on the straight line between two neural networks.

    line = Line(State.of(start), State.of(end))
    curve = scan(line, Evaluator(start, {"test": (inputs, targets)}))
    shape.min_delta(curve.alphas, curve["test", "cross_entropy"].mean)

Layer-wise: ``Only(line, groups.by_block(start)["layer1"])``. Everything at once: ``probe``. Trainings and studies are
in `linescape.recipe`, `linescape.train`, `linescape.study` and `linescape.work`.
"""

from linescape import batchnorm, groups, shape
from linescape.curve import Curve, Point, Series
from linescape.errors import LinescapeError
from linescape.evaluate import Evaluator
from linescape.keeper import Keeper
from linescape.measure import cross_entropy, error, squared_error
from linescape.paths import Bend, Line, Only, Path, Ray
from linescape.probe import Probe, between, probe
from linescape.scan import collect, cost, scan, walk
from linescape.sequential import Until
from linescape.space import Distance, State, difference, distance, distances, lerp, norm

__version__ = "0.1.0"

__all__ = [
    "Bend",
    "Curve",
    "Distance",
    "Evaluator",
    "Keeper",
    "Line",
    "LinescapeError",
    "Only",
    "Path",
    "Point",
    "Probe",
    "Ray",
    "Series",
    "State",
    "Until",
    "batchnorm",
    "between",
    "collect",
    "cost",
    "cross_entropy",
    "difference",
    "distance",
    "distances",
    "error",
    "groups",
    "lerp",
    "norm",
    "probe",
    "scan",
    "shape",
    "squared_error",
    "walk",
]
