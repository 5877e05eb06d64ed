"""The command `plane`: the loss on a plane through three networks, or around one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from linescape.cli.checkpoints import PLAIN, Reading
from linescape.cli.consoles import Many, Out, echo, echo_err
from linescape.errors import RecipeError


def plane(
    a: Path,
    b: Path | None = None,
    c: Path | None = None,
    *,
    model: str | None = None,
    data: str | None = None,
    measure: Annotated[tuple[str, ...], Many] = ("cross_entropy", "error"),
    batchnorm: Annotated[tuple[str, ...], Many] = ("interpolate",),
    points: int = 25,
    normalise: Literal["filter", "layer", "none"] = "filter",
    seed: int = 0,
    precision: Literal["bfloat16"] | None = None,
    device: str = "cpu",
    out: Out = Path("plane"),
    reading: Reading = PLAIN,
) -> dict[str, Any]:
    """Measure loss and error on the plane through three checkpoints, or around one in two random directions.

    Writes a report: an HTML page, its figures and its tables. An interrupted command continues when it is run again.

    Args:
        a: the checkpoint at (0, 0): a file, or the folder of a Hugging Face or distributed checkpoint.
        b: the checkpoint at (1, 0). Without B and C: random directions around A.
        c: the third checkpoint.
        model: the network, as for probe.
        data: the data, as for probe.
        measure: what to measure for each example, as for probe.
        batchnorm: how to set BatchNorm statistics in the plane: interpolate, recalibrate or batch.
        points: least number of positions on each side; time grows with its square.
        normalise: of random directions: filter scales each filter to the norm of this filter in A (Li et al. 2018),
            layer each tensor, none nothing.
        seed: of random directions.
        precision: bfloat16 is faster where the processor has instructions for it, and is not used elsewhere.
        device: where to compute: cpu, cuda, ...
        out: folder for the report.
        reading: how to read the checkpoints.
    """
    from linescape.checkpoints.align import pair
    from linescape.cli import specs
    from linescape.evaluation.evaluator import Evaluator
    from linescape.geometry.planes import Plane
    from linescape.interpolation import resume
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.surface import scan_plane
    from linescape.report.exclusive import reserved
    from linescape.report.planes import check_place, write_plane
    from linescape.report.verdict import named, value_unit

    if (b is None) != (c is None):
        raise RecipeError(
            "A plane goes through three checkpoints, and two were named. Name a third one, or measure the line between "
            "two with `linescape probe`; one alone is measured in random directions."
        )
    with reserved(out):  # of two planes, the first to end would remove the points of the other
        check_place(out)
        files = [path for path in (a, b, c) if path is not None]
        device = specs.device(device)
        *others, last = map(reading.read, files)
        network, measured, remarks = specs.network_and_data(model, data, last.metadata, files[-1], last)
        fitted = []
        for contents in others:
            start, last = pair(contents, last, reading.fit(), network)
            fitted.append(start)
        if not others:
            _, last = pair(last, last, reading.fit(), network)
        evaluator = Evaluator(
            network.to(device), measured, specs.measures_named(measure), precision=precision, copy=False
        )
        states = [contents.into(network).to(device) for contents in (*fitted, last)]
        names = _names(files)
        through = Plane(*states, names=names) if others else Plane.random(states[0], normalise, seed, names[0])
        kept = out / "points"
        surface = scan_plane(through, evaluator, ScanOptions(alphas=points, batchnorm=batchnorm, keep=kept))
        for contents in (*fitted, last):
            contents.check_unchanged()
        notes = [note for contents in (*fitted, last) for note in contents.notes]
        page = write_plane(surface, out, " · ".join(names), [*notes, *remarks])
        resume.clear(kept)
        for key in sorted(surface.values, key=lambda key: key[0] != "test"):
            at_networks = ", ".join(f"{name} {surface.at(name, key):.4g}" for name in surface.marks)
            x, y, value = surface.lowest(key)
            series = named(*key[:2]) + value_unit(key[1], ",")
            echo_err(f"{series}: {at_networks}; lowest on the grid {value:.4g} at ({x:.2f}, {y:.2f})")
        told = list(dict.fromkeys((*surface.provenance["notes"], *notes, *remarks)))
        for note in told:
            echo_err(f"note: {note}")
        echo(str(page))
        return {"page": page, "marks": surface.marks, "rows": surface.frame().to_dicts(), "notes": told}


def _names(files: list[Path]) -> list[str]:
    """The shortest ends of paths that differ: their stems, or with folders."""
    for parts in range(1, max(len(path.resolve().parts) for path in files) + 1):
        names = ["/".join(path.resolve().with_suffix("").parts[-parts:]) for path in files]
        if len({*names}) == len(names):
            return names
    raise RecipeError(f"{files[0]} is named twice, and a plane needs three different networks.")
