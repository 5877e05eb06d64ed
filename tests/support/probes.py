"""Probes made up from the stand-in for a study: of two networks, and of several."""

from __future__ import annotations

from itertools import combinations

from linescape.geometry.state import distances
from linescape.interpolation.probing import Probe
from linescape.studies.study import Moment
from tests.support.fake_study import BLOCKS, FakeStore, study

NAMES = ("step-0", "step-100", "<b>step-2000</b>", "step-30000")


def sample_probe() -> Probe:
    made = study(1, 11)
    store = FakeStore(made, examples=60)
    run = next(arm for arm in made.arms if arm.name == "no-weight-decay").runs[0]
    curves = {label: store.curve(scan) for label, scan in run.lines.items()}
    ends = store.state(Moment(run.recipe, "start")), store.state(Moment(run.recipe))
    return Probe(curves, distances(*ends, {block: (f"{block}.weight",) for block in BLOCKS}), ("A note of the probe.",))


def sample_lines(chosen: str = "all") -> Probe:
    """The lines between four networks, one of them with NaN."""
    made = study(2, 11)
    store = FakeStore(made, examples=60)
    runs = [run for arm in made.arms if arm.name in ("no-weight-decay", "base", "lr-1") for run in arm.runs]
    pairs = list(combinations(NAMES, 2)) if chosen == "all" else [(name, NAMES[-1]) for name in NAMES[:-1]]
    curves = {f"{a} to {b}": store.curve(run.lines["whole"]) for (a, b), run in zip(pairs, runs, strict=False)}
    moved = sample_probe().distances["all"]
    return Probe(curves, dict.fromkeys(curves, moved), (), dict(zip(curves, pairs, strict=True)))
