"""Commands that train networks: the demo, a study, a single training."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from linescape.cli.consoles import Many, Out, echo, echo_err, show, stderr, stdout
from linescape.cli.usage import epilogue
from linescape.errors import RecipeError, UnfinishedError, plural

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.studies.executors import Executor
    from linescape.studies.run import RunSummary
    from linescape.studies.store import Store
    from linescape.studies.study import Study, Train

app = App(name="study", help="Train many networks and report on their lines.")


def demo(store: str = "demo/store", out: Out = Path("demo/report")) -> dict[str, Any]:
    """Run a small study from training to report.

    Trains small networks under interventions and measures their lines, in minutes on 2 cores.

    Args:
        store: folder for results, or an address such as s3://bucket/folder; a second run reuses them.
        out: folder for the report.
    """
    from linescape import report, studies

    study = studies.find("vlaar2022", "demo")
    report.check_free(out)  # before the minutes of work
    summary = _work(study, store)
    written = _report(study, store, out)
    _check_finished(summary)
    return written


@app.command(name="list", help_epilogue=epilogue("study list"))
def list_studies(name: str | None = None, *, scale: str = "") -> dict[str, Any]:
    """List the studies, or the scales and arms of one.

    Without a name: each study and its question. With one: what differs in each arm, and how many trainings it has.

    Args:
        name: only this study, also one of your own: file.py, which defines study, or file.py:name.
        scale: the scale whose arms are shown, mini by default.
    """
    from linescape import studies

    if name is None:
        if scale:
            raise RecipeError(f"Name the study whose arms at {scale} to show: study list vlaar2022 --scale {scale}")
        return _list_all()
    scales = {each: studies.find(name, each) for each in studies.scales(name)}
    shown = studies.find(name, scale)
    stdout.print(" ".join(filter(None, (f"{name}: {shown.title}", shown.source))), style="bold")
    if len(scales) > 1:
        _show_scales(scales)
        stdout.print(f"\nArms at {shown.scale}, for others: linescape study list {name} --scale {next(iter(scales))}\n")
    _show_arms(shown)
    return {
        each: {
            arm.name: {"group": arm.group, "runs": len(arm.runs), "title": arm.title, "baseline": arm.baseline}
            for arm in study.arms
        }
        for each, study in scales.items()
    }


def _list_all() -> dict[str, Any]:
    from linescape import studies

    table = Table(Column("study", no_wrap=True), Column("question"), box=None)
    listed: dict[str, Any] = {}
    for name in studies.names():
        study, scales = studies.find(name), studies.scales(name)
        table.add_row(name, study.title)
        listed[name] = {"title": study.title, "source": study.source, "scales": list(scales)}
    show(table)
    stdout.print("\nThe scales and arms of one: linescape study list vlaar2022")
    return listed


def _show_scales(scales: Mapping[str, Study]) -> None:
    table = Table(Column("scale", no_wrap=True), box=None)
    for header in ("arms", "runs"):
        table.add_column(header, justify="right")
    for scale, study in scales.items():
        table.add_row(scale, str(len(study.arms)), str(sum(len(arm.runs) for arm in study.arms)))
    show(table)


def _show_arms(study: Study) -> None:
    # Names come first and whole, since they are typed; only descriptions are folded.
    table = Table(Column("arm", no_wrap=True), Column("runs", justify="right", no_wrap=True), box=None)
    table.add_column("description", min_width=24)
    table.add_column("compared with", no_wrap=True)
    for group, arms in groupby(study.arms, lambda arm: arm.group):
        table.add_row(f"[{group}]")
        for arm in arms:
            baseline = arm.baseline if arm.baseline != arm.name else ""
            table.add_row(arm.name, str(len(arm.runs)), arm.title, baseline)
    show(table)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection:
    """A part of a study, and the folder of its results.

    Attributes:
        scale: the scale, from minutes on 2 cores (demo, mini) to the setting of the source (cifar10).
        arms: only these arms; all if none is named.
        runs: only the first runs of each arm, this many.
        store: folder of results, or an address such as s3://bucket/folder.
    """

    scale: str = "mini"
    arms: Annotated[tuple[str, ...], Many] = ()
    runs: int | None = None
    store: str = "runs"

    def study(self, name: str) -> Study:
        """The selected part of the named study."""
        from linescape import studies

        return studies.find(name, self.scale if self.scale != "mini" else "").only(*self.arms, runs=self.runs)

    def words(self, name: str) -> list[str]:
        """The study and this part of it, as they are typed."""
        words = [name]
        for option in fields(self):
            value = getattr(self, option.name)
            if value != option.default:
                words += [f"--{option.name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return words


WHOLE = Selection()


@app.command(name="plan", help_epilogue=epilogue("study plan"))
def plan_study(name: str, selection: Selection = WHOLE, *, device: str = "cpu") -> dict[str, Any]:
    """Estimate the time and disk space of a study.

    Counts the missing trainings and lines, and estimates their time and disk space within a minute. Times a few steps
    of each network on the device. Lists the data sets and weights that have to be fetched first.

    Args:
        name: the study; of your own file.py, which defines study, or file.py:name.
        device: where it would run: cpu (all cores) or cuda.
    """
    from linescape.cli import specs
    from linescape.studies import planning
    from linescape.studies.store import Store

    where, study, store = specs.device(device), selection.study(name), Store(selection.store)
    echo(str(planning.count(study, store)))
    _tell_changes(study, store)
    with Progress(*_COLUMNS, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("timing")

        def report(done: int, total: int, what: str) -> None:
            progress.update(bar, completed=done, total=total, description=f"timing {what}")

        planned = planning.plan(study, store, where, report=report)
    if planned.estimate:
        echo(planned.estimate)
    return asdict(planned)


@app.command(name="run", help_epilogue=epilogue("study run"))
def run_study(
    name: str,
    selection: Selection = WHOLE,
    *,
    device: str = "cpu",
    executor: str = "local",
    workers: int | None = None,
    address: str = "",
    slurm: Annotated[tuple[str, ...], Many] = (),
) -> dict[str, Any]:
    """Run the missing trainings and lines of a study.

    Interrupt it at any time; the same command continues. Results that are damaged are made again. Ends with the command
    that writes the report.

    Args:
        name: the study; of your own file.py, which defines study, or file.py:name.
        selection: the part of it, and the folder of its results.
        device: where to train and to measure: cpu (all cores) or cuda (all GPUs).
        executor: what does the tasks: local (processes of this machine), ray or slurm.
        workers: processes of local, by default one for each core or GPU; of the others, tasks in flight at most.
        address: of a Ray cluster; without it, one is started on this machine and ended with the run.
        slurm: settings of SLURM's jobs, as in sbatch: partition=long time=60 (minutes).
    """
    from linescape.studies import executors

    chosen = executors.named(executor, workers, address, slurm)
    summary = _work(selection.study(name), selection.store, device, chosen)
    report = shlex.join(["linescape", "study", "report", *selection.words(name)])
    echo_err(f"Next, write the report: {report}")
    _check_finished(summary)
    return {
        "done": summary.done,
        "done_before": summary.before,
        "declined": len(summary.declined),
        "seconds": summary.seconds,
        "next": report,
    }


@app.command(name="report", help_epilogue=epilogue("study report"))
def report_study(name: str, selection: Selection = WHOLE, *, out: Out = Path("report")) -> dict[str, Any]:
    """Write the report of a study.

    An HTML page, its figures and its tables, from the results that are finished. Results that are damaged are left out,
    and listed. A folder with files of these names that linescape did not write is left alone.

    Args:
        name: the study; of your own file.py, which defines study, or file.py:name.
        out: folder for the report.
    """
    return _report(selection.study(name), selection.store, out)


@app.command(name="compare", help_epilogue=epilogue("study compare"))
def compare_works(*, scale: str = "mini", store: str = "runs", out: Out = Path("comparison")) -> dict[str, Any]:
    """Compare claims of published works with the results.

    Writes a page with each work's claims and numbers beside what the results say, and what is missing.

    Args:
        scale: of the studies (demo, mini, ..., cifar10).
        store: folder of results, or an address such as s3://bucket/folder.
        out: folder for the page.
    """
    from linescape.report import comparison

    results, words = existing(store, "report"), Selection(scale=scale, store=store).words("")[1:]
    return _told(comparison.write(scale, results, out, tuple(words)), results)


def train(
    *,
    model: str = "resnet,depth=8,width=8",
    data: str = "fashion-mini,size=14,augment=crop-flip",
    optimizer: str = "sgd,weight_decay=5e-4",
    schedule: str = "step,epochs=6,drops=2/4",
    seed: int = 0,
    under: Annotated[tuple[str, ...], Many] = (),
    device: str = "cpu",
    store: str = "runs",
) -> dict[str, Any]:
    """Train one network, and keep its start and end.

    Prints the checkpoint files of both, which probe takes.

    Args:
        model: mlp, lenet, vgg, resnet or efficientnet-lite, with settings, as in resnet,depth=18,norm=none.
        data: a data set, with settings, as in fashion-mini,size=14,fraction=0.2.
        optimizer: sgd, adam or adamw, as in adam,lr=0.001,batch_size=64 or sgd,precision=bfloat16.
        schedule: constant, step or cosine, as in step,epochs=6,drops=2/4.
        seed: the seed of all random draws; replicates differ in it.
        under: interventions, as in weight_decay=0, adversarial or from_file=PATH.
        device: cpu or cuda.
        store: folder for results, or an address such as s3://bucket/folder.
    """
    from linescape.cli import specs
    from linescape.recipe import Optimizer, Recipe, Schedule
    from linescape.studies.store import Store
    from linescape.studies.study import Moment, Train
    from linescape.training import interventions

    recipe = Recipe(
        data=specs.data_set(data),
        model=specs.network(model),
        optimizer=specs.content(Optimizer, "name", optimizer),
        schedule=specs.content(Schedule, "kind", schedule),
        seed=seed,
    )
    for intervention in under:
        recipe = interventions.apply(recipe, intervention)
    summary = _work([Train(recipe)], store, device)
    if summary.failed or summary.declined:
        raise RecipeError("".join((summary.failed | summary.declined).values()))
    results = Store(store)
    measured = {}
    for last in results.log(recipe).tail(1).iter_rows(named=True):  # none after 0 epochs
        echo_err(f"test error {last['test_error']:.2f} %, test loss {last['test_loss']:.4f} nats")
        measured = {"test_error_percent": last["test_error"], "test_loss_nats": last["test_loss"]}
    files = {moment: results.place.shown(results.file(Moment(recipe, moment))) for moment in ("start", "end")}
    for file in files.values():
        echo(file)
    return {**files, **measured}


_COLUMNS = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())


def _work(tasks: Study | list[Train], store: str, device: str = "cpu", executor: Executor | None = None) -> RunSummary:
    from linescape.cli import specs
    from linescape.studies.executors import Local
    from linescape.studies.run import work
    from linescape.studies.store import Store

    if isinstance(executor, Local | None):
        device = specs.device(device)  # elsewhere there may be GPUs where this machine has none
    summary = work(tasks, Store(store), device, executor=executor)
    echo_err(str(replace(summary, failed={})))  # what failed is told by work itself
    return summary


def _check_finished(summary: RunSummary) -> None:
    if summary.failed:
        reason = next(iter(summary.failed.values())).strip().splitlines()[-1]
        raise UnfinishedError(
            f"{plural(len(summary.failed), 'task')} failed, to be tried again by the next run. The first: {reason}"
        )


def _tell_changes(study: Study, store: Store) -> None:
    from linescape.studies.own_code import changed_code

    for sentence in changed_code(study, store):
        echo_err(sentence)


def _report(study: Study, store: str, out: Path) -> dict[str, Any]:
    from linescape import report

    results = existing(store, "report")
    _tell_changes(study, results)
    return _told(report.write(study, results, out), results)


def existing(store: str, what: str) -> Store:
    """A store that has results, which are there to `what`."""
    from linescape.errors import StoreError
    from linescape.studies.store import Store

    results = Store(store)
    if not results.exists():
        raise StoreError(f"{store} has no results, so there is nothing to {what}. Name their folder with --store.")
    return results


def _told(page: Path, results: Store) -> dict[str, Any]:
    """Print a report's page and what was left out of it."""
    for reason in results.damaged.values():
        echo_err(f"Left out: {reason}")
    echo(str(page))
    return {"page": page, "left_out": list(results.damaged.values())}
