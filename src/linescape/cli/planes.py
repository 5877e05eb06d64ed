"""The command `plane`: the loss on a plane through three networks, or around one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from linescape.cli.consoles import Out, echo, echo_err
from linescape.cli.measuring import BY_DEFAULT, Measuring
from linescape.cli.reading import PLAIN, Reading
from linescape.errors import RecipeError

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.surface import Surface


def plane(
    a: Path,
    b: Path | None = None,
    c: Path | None = None,
    *,
    measuring: Measuring = BY_DEFAULT,
    points: int = 25,
    normalise: Literal["filter", "layer", "none"] = "filter",
    seed: int = 0,
    out: Out = Path("plane"),
    reading: Reading = PLAIN,
) -> dict[str, Any]:
    """Measure the plane through three checkpoints.

    Loss and error on the plane through three checkpoints, or around one in two random directions. Writes a report: an
    HTML page, its figures and its tables. An interrupted command continues when it is run again.

    Args:
        a: the checkpoint at (0, 0): a file, or the folder of a Hugging Face or distributed checkpoint.
        b: the checkpoint at (1, 0). Without B and C: random directions around A.
        c: the third checkpoint.
        measuring: network, data, measures, device.
        points: least number of positions on each side of the plane; time grows with its square.
        normalise: how random directions are scaled. filter: each filter to the norm of this filter in A (Li et al.
            2018); layer: each tensor to its norm in A; none: not at all.
        seed: the seed of random directions.
        out: folder for the report.
        reading: how to read the checkpoints.
    """
    from linescape.interpolation import resume
    from linescape.interpolation.options import ScanOptions
    from linescape.report.exclusive import reserved
    from linescape.report.planes import check_place, write_plane

    if (b is None) != (c is None):
        raise RecipeError(
            "A plane goes through three checkpoints, and two were named. Name a third one, or measure the line between "
            "two with `linescape probe`; one alone is measured in random directions."
        )
    with reserved(out):  # of two planes, the first to end would remove the points of the other
        check_place(out)
        measuring.check()
        files = [path for path in (a, b, c) if path is not None]
        names = _names(files)
        kept = out / "points"
        options = ScanOptions(alphas=points, batchnorm=measuring.batchnorm, keep=kept)
        surface, notes = _measured(files, names, measuring, reading, options, (normalise, seed))
        page = write_plane(surface, out, " · ".join(names), notes)
        resume.clear(kept)
        _show(surface)
        told = list(dict.fromkeys((*surface.provenance["notes"], *notes)))
        for note in told:
            echo_err(f"note: {note}")
        echo(str(page))
        return {"page": page, "marks": surface.marks, "rows": surface.frame().to_dicts(), "notes": told}


def _measured(
    files: Sequence[Path],
    names: Sequence[str],
    measuring: Measuring,
    reading: Reading,
    options: ScanOptions,
    random: tuple[Literal["filter", "layer", "none"], int],
) -> tuple[Surface, list[str]]:
    """The plane through three networks, or around one in two random directions; and notes."""
    from linescape.checkpoints.align import pair
    from linescape.geometry.planes import Plane
    from linescape.interpolation.surface import scan_plane

    *others, last = map(reading.read, files)
    resolved = measuring.resolve(last.metadata, files[-1], last)
    network = resolved.network
    fitted = []
    for contents in others:
        start, last = pair(contents, last, reading.fit(), network)
        fitted.append(start)
    if not others:
        _, last = pair(last, last, reading.fit(), network)
    members = (*fitted, last)
    evaluator = measuring.evaluator(resolved)
    states = [contents.into(network).to(measuring.device) for contents in members]
    through = Plane(*states, names=names) if others else Plane.random(states[0], *random, names[0])
    surface = scan_plane(through, evaluator, options)
    for contents in members:
        contents.check_unchanged()
    return surface, [*(note for contents in members for note in contents.notes), *resolved.notes]


def _show(surface: Surface) -> None:
    """Print the values at the networks, and the lowest ones."""
    from linescape.report.verdict import named, value_unit

    for key in sorted(surface.values, key=lambda key: key[0] != "test"):
        at_networks = ", ".join(f"{name} {surface.at(name, key):.4g}" for name in surface.marks)
        x, y, value = surface.lowest(key)
        series = named(*key[:2]) + value_unit(key[1], ",")
        echo_err(f"{series}: {at_networks}; lowest on the grid {value:.4g} at ({x:.2f}, {y:.2f})")


def _names(files: list[Path]) -> list[str]:
    """The shortest ends of paths that differ: their stems, or with folders."""
    for parts in range(1, max(len(path.resolve().parts) for path in files) + 1):
        names = ["/".join(path.resolve().with_suffix("").parts[-parts:]) for path in files]
        if len({*names}) == len(names):
            return names
    raise RecipeError(f"{files[0]} is named twice, and a plane needs three different networks.")
