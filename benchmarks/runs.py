"""What is kept of a study's run in the repository: its log, curves and numbers, without checkpoints."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import polars as pl

from linescape import atomic
from linescape.analysis import tables
from linescape.recipe import Recipe
from linescape.studies.store import Store
from linescape.studies.study import Study, Train


def name(run: Study) -> str:
    """Of a run, a study of one arm and one seed: ``partial-4-0``."""
    return f"{run.arms[0].name}-{recipe(run).seed}"


def recipe(run: Study) -> Recipe:
    """What a run trains."""
    return run.arms[0].runs[0].recipe


def folder(results: Path, scale: str, run: Study) -> Path:
    """Where the results of a run are."""
    return results / scale / name(run)


def written(results: Path, scale: str, run: Study) -> bool:
    """Whether the results of a run stand in a folder."""
    return (folder(results, scale, run) / "run.json").exists()


def export(results: Path, scale: str, run: Study, store: Store) -> None:
    """Write what is kept of a complete run: its log, its curves and its numbers, run.json last."""
    place = folder(results, scale, run)
    place.mkdir(parents=True, exist_ok=True)
    found = tables.read(run, store)
    trained = recipe(run)
    lines = found.lines.select("label", "data", "measure", "alpha", "mean", "standard_error").with_columns(
        pl.col("mean", "standard_error").cast(pl.Float32)
    )
    for file, frame in (
        ("log", store.log(trained)),
        ("lines", lines),
        ("heights", found.statistics.select("label", "data", "number", "value", "low", "high")),
        ("layers", found.layers.drop("arm", "group", "title", "seed")),
        ("distances", found.distances.drop("arm", "group", "title", "seed")),
    ):
        atomic.write(place / f"{file}.csv", frame.write_csv(float_precision=6).encode())
    about = {
        "key": trained.key,
        "processor": processor(),
        "trained": {key: value for key, value in store.record(Train(trained)).items() if key != "files"},
        "run": found.runs.row(0, named=True),
    }
    atomic.write(place / "run.json", json.dumps(about, indent=1, default=str).encode())


def processor() -> str:
    """The processor's name as Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
