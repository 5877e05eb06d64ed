"""The command `doctor`: whether known answers come out on this machine, and what BatchNorm does to two checkpoints."""

from __future__ import annotations

import math
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from linescape.cli.consoles import echo, echo_err, show
from linescape.cli.measuring import CPU, Subject
from linescape.cli.reading import PLAIN, Reading
from linescape.errors import RecipeError, UnsoundError
from linescape.version import VERSION

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.interpolation.known import Check
    from linescape.interpolation.probing import Probe
    from linescape.interpolation.summary import SeriesVerdict

_PACKAGES = ("numpy", "scipy", "safetensors", "msgspec", "polars")


def examine(
    start: Path | None = None,
    end: Path | None = None,
    *,
    subject: Subject = CPU,
    alphas: int = 11,
    reading: Reading = PLAIN,
) -> dict[str, Any]:
    """Check that known answers come out on this machine.

    In a few seconds it computes lines in closed form, each treatment of BatchNorm, and what makes evaluation fast,
    which is compared with plain calls in float64. The exit code is 1 if anything is wrong. With two checkpoints it also
    says what each treatment of BatchNorm does to their line.

    Args:
        start: a checkpoint, as for probe.
        end: another one.
        subject: network, data, device.
        alphas: number of equally spaced positions on the line between the two.
        reading: how to read the checkpoints.
    """
    from linescape.cli import specs
    from linescape.interpolation.known import checks

    if start is not None and end is None:
        raise RecipeError(
            "doctor takes two checkpoints or none, and one was named. Name the other end of the line: linescape doctor "
            "A B --model mine:network --data mine:data"
        )
    device = specs.device(subject.device)
    machine = _machine()
    for name, value in machine.items():
        echo(f"{name}: {value}")
    checked = list(checks(device))
    _show_checks(checked, device)
    wrong = [check for check in checked if not check.is_ok]
    result: dict[str, Any] = {
        "machine": machine,
        "checks": [{"what": c.what, "found": c.found, "expected": c.expected, "ok": c.is_ok} for c in checked],
    }
    if wrong:
        raise UnsoundError(
            f"{len(wrong)} of {len(checked)} known answers are wrong on this machine, so no line that is measured here "
            f"can be trusted. The first: {wrong[0].what} is {wrong[0].found:.8g}, not {wrong[0].expected:.8g}. "
            "Install the versions that pyproject.toml asks for, try another version of torch, and report what is "
            "printed here.",
            result,
        )
    echo(f"All {len(checked)} known answers are right.")
    if start is None or end is None:
        return result
    return result | {"batchnorm": _treatments(start, end, subject, alphas, reading)}


def _machine() -> dict[str, str]:
    """What decides how numbers come about, by name."""
    import torch

    from linescape.engine.native import build
    from linescape.engine.processors import multiplies_bfloat16

    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    compiled = build.compiled()
    kernels = "compiled" if compiled.library else compiled.note or "not for this system or processor: torch is used"
    others = (f"{name} {version(name)}" for name in _PACKAGES)
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "versions": ", ".join((f"linescape {VERSION}", f"torch {torch.__version__}", *others)),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor": f"{next(names, platform.processor() or 'unknown')}, {torch.backends.cpu.get_cpu_capability()}",
        "cores": str(os.cpu_count()),
        "threads of torch": str(torch.get_num_threads()),
        "compiler": f"{build.compiler() or 'none'}; linescape's kernels: {kernels}",
        "bfloat16": "instructions for it" if multiplies_bfloat16(torch.device("cpu")) else "none: float32 is used",
        "GPU": ", ".join(devices) or "none that torch can use",
    }


def _show_checks(checked: list[Check], device: str) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"on {device}", no_wrap=True)
    for heading in ("found", "expected", "apart", "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for check in checked:
        apart = f"{abs(check.found - check.expected):.1g}"
        numbers = (f"{check.found:.8g}", f"{check.expected:.8g}", apart, f"{check.allowed:.1g}")
        table.add_row(check.what, *numbers, "ok" if check.is_ok else "WRONG")
    show(table)


def _treatments(start: Path, end: Path, subject: Subject, alphas: int, reading: Reading) -> dict[str, Any]:
    """The line between two checkpoints under each treatment of BatchNorm."""
    from linescape.checkpoints.align import pair
    from linescape.evaluation.batchnorm import TREATMENTS
    from linescape.evaluation.batchnorm import layers as norms
    from linescape.evaluation.evaluator import Evaluator
    from linescape.interpolation.options import ScanOptions
    from linescape.interpolation.probing import probe

    first, last = map(reading.read, (start, end))
    network, measured, notes = subject.resolve(last.metadata, end, last)
    first, last = pair(first, last, reading.fit(), network)
    if not norms(network):
        echo("The network has no running statistics of BatchNorm, so no treatment changes its line.")
        return {"notes": list(notes), "rows": []}
    treatments = tuple(t for t in TREATMENTS if t != "recalibrate" or "train" in measured)
    evaluator = Evaluator(network, measured, copy=False)
    states = [contents.into(network).to(subject.device) for contents in (first, last)]
    result = probe(states[0], states[1], evaluator, options=ScanOptions(alphas=alphas, batchnorm=treatments))
    for contents in (first, last):
        contents.check_unchanged()
    line = result.summary().lines[0]
    told = [each for each in line.series if (each.data, each.measure) == (line.loss.data, line.loss.measure)]
    series = {each.batchnorm: each for each in told}
    rows = _show_treatments(result, series)
    said = _told(series)
    for sentence in said:
        echo(sentence)
    remarks = list(dict.fromkeys([*result.notes, *first.notes, *last.notes, *notes]))
    for note in remarks:
        echo_err(f"note: {note}")
    return {"data": line.loss.data, "rows": rows, "told": said, "notes": remarks}


def _show_treatments(probe: Probe, series: dict[str, SeriesVerdict]) -> list[dict[str, Any]]:
    """A row for each treatment; returns them."""
    rows = []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("BatchNorm", no_wrap=True)
    for heading in (*_PLACES, "highest", "barrier, nats (95 %)"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    curve = next(iter(probe.curves.values()))
    for treatment, each in series.items():
        verdict, mean = each.verdict, curve[each.data, each.measure, treatment].mean
        values = {name: verdict.places[place].value for name, place in _PLACES.items()} | {"highest": float(mean.max())}
        unknown = () if verdict.middle_is_known else ("halfway",)
        values |= dict.fromkeys(unknown, math.nan)
        height = verdict.height
        barrier = f"{height.value:.3g} ({height.low:.3g}, {height.high:.3g})"
        shown = ("–" if place in unknown else f"{value:.4g}" for place, value in values.items())
        table.add_row(treatment, *shown, barrier, verdict.kind)
        rows.append({"batchnorm": treatment, **values, "barrier": height.value, "verdict": verdict.kind})
    echo(f"\nLoss on {next(iter(series.values())).data} data along the line, by treatment of BatchNorm's statistics:")
    show(table)
    return rows


_PLACES = {"start": "start", "halfway": "middle", "end": "end"}


def _told(series: dict[str, SeriesVerdict]) -> list[str]:
    """What follows for these two networks, in sentences."""
    if "recalibrate" not in series:
        return ["There are no data 'train' to recalibrate with: add them to see what the running statistics do."]
    kept, anew = (series[name].verdict for name in ("interpolate", "recalibrate"))
    told = []
    for place, where in (("start", "START"), ("end", "END")):
        own, measured = kept.places[place].value, anew.places[place].value
        if not abs(own - measured) <= kept.smallest_effect:
            told.append(
                f"{where} itself has another loss with its own statistics ({own:.4g}) than with those of the training "
                f"data ({measured:.4g}): the data are not as in its training (normalisation, augmentation, order), are "
                "too few, or its statistics were kept fixed. Mend that first."
            )
    if kept.kind == anew.kind:
        told.append(f"Interpolated and recalibrated statistics agree: {kept.kind}.")
    else:
        told.append(
            f"Interpolated statistics say '{kept.kind}' and recalibrated ones '{anew.kind}': the difference is due to "
            "the statistics between the two networks, not to their weights. Report both; an average needs recalibrated "
            "ones."
        )
    return told
