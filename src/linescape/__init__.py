"""linescape: what lies on the straight line between two neural networks.

    probe = compare(before, after, {"test": (inputs, targets)})
    probe.plot()

or step by step:

    line = Line(before, after)
    curve = scan(line, Evaluator(before, {"test": (inputs, targets)}))
    shape.min_delta(curve.alphas, curve["test", "cross_entropy"].mean)

Layer-wise: ``Only(line, groups.by_block(before)["layer1"])``. Trainings and studies are
in `linescape.recipe`, `linescape.training.loop`, `linescape.studies.study` and `linescape.studies.run`.

A name is imported when it is first used, so that ``linescape --help`` does not wait for torch.
"""

import importlib
import random

from linescape.version import VERSION as _VERSION

TYPE_CHECKING = False  # not that of typing, whose import takes milliseconds in which Ctrl-C ends in a traceback

__version__ = _VERSION

__all__ = [
    "Bend",
    "Criticality",
    "Curve",
    "Distance",
    "Evaluator",
    "Keeper",
    "Line",
    "LinescapeError",
    "Merged",
    "Only",
    "Path",
    "Plane",
    "Point",
    "Probe",
    "Ray",
    "Repaired",
    "ScanOptions",
    "Series",
    "Slerp",
    "State",
    "Surface",
    "Until",
    "align",
    "batchnorm",
    "between",
    "binary_cross_entropy",
    "binary_error",
    "collect",
    "compare",
    "cost",
    "criticality",
    "cross_entropy",
    "curve_between",
    "difference",
    "distance",
    "distances",
    "error",
    "groups",
    "lerp",
    "norm",
    "probe",
    "scan",
    "scan_plane",
    "shape",
    "squared_error",
    "walk",
]

if TYPE_CHECKING:
    from linescape import checkpoints as checkpoints
    from linescape import data as data
    from linescape import report as report
    from linescape import shape
    from linescape.checkpoints.comparing import compare
    from linescape.errors import LinescapeError
    from linescape.evaluation import batchnorm
    from linescape.evaluation.evaluator import Evaluator
    from linescape.evaluation.measures import binary_cross_entropy, binary_error, cross_entropy, error, squared_error
    from linescape.geometry import groups
    from linescape.geometry.merged import Merged
    from linescape.geometry.paths import Bend, Line, Only, Path, Ray
    from linescape.geometry.planes import Plane
    from linescape.geometry.slerp import Slerp
    from linescape.geometry.state import Distance, State, difference, distance, distances, lerp, norm
    from linescape.interpolation.alignment.aligning import align
    from linescape.interpolation.critical import Criticality, criticality
    from linescape.interpolation.curve import Curve, Point, Series
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.probing import Probe, between, probe
    from linescape.interpolation.repair import Repaired
    from linescape.interpolation.scanning import collect, cost, scan, walk
    from linescape.interpolation.stopping import Until
    from linescape.interpolation.surface import Surface, scan_plane
    from linescape.keeper import Keeper
    from linescape.training.curves import curve_between
else:
    _NAMES = {
        "checkpoints": {"checkpoints"},  # these three are not in __all__: `import *` should not take such names
        "checkpoints.comparing": {"compare"},
        "errors": {"LinescapeError"},
        "evaluation.batchnorm": {"batchnorm"},
        "evaluation.evaluator": {"Evaluator"},
        "evaluation.measures": {"binary_cross_entropy", "binary_error", "cross_entropy", "error", "squared_error"},
        "geometry.groups": {"groups"},
        "geometry.merged": {"Merged"},
        "geometry.paths": {"Bend", "Line", "Only", "Path", "Ray"},
        "geometry.planes": {"Plane"},
        "geometry.slerp": {"Slerp"},
        "geometry.state": {"Distance", "State", "difference", "distance", "distances", "lerp", "norm"},
        "interpolation.alignment.aligning": {"align"},
        "interpolation.critical": {"Criticality", "criticality"},
        "interpolation.curve": {"Curve", "Point", "Series"},
        "interpolation.options": {"ScanOptions"},
        "interpolation.probing": {"Probe", "between", "probe"},
        "interpolation.repair": {"Repaired"},
        "interpolation.scanning": {"collect", "cost", "scan", "walk"},
        "interpolation.stopping": {"Until"},
        "interpolation.surface": {"Surface", "scan_plane"},
        "keeper": {"Keeper"},
        "training.curves": {"curve_between"},
        "shape": {"shape"},
        "data": {"data"},
        "report": {"report"},
    }

    def __getattr__(name):
        for path, names in _NAMES.items():
            if name in names:
                state = random.getstate()  # some packages draw as they are imported
                module = importlib.import_module(f"linescape.{path}")
                random.setstate(state)
                value = module if path.endswith(name) else getattr(module, name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'linescape' has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


del TYPE_CHECKING
