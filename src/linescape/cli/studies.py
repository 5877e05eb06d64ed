"""Commands that train networks: the demo, a study, a single training."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.table import Table

from linescape.cli.consoles import Many, echo, echo_err, stdout

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.studies.run import RunSummary
    from linescape.studies.study import Study, Train

app = App(name="study", help="Train many networks, measure the lines of each, and write one report.")


def demo(store: Path = Path("demo/store"), out: Path = Path("demo/report")) -> None:
    """Train small networks under interventions, measure their lines and write a report; minutes on 2 cores.

    Args:
        store: folder for results; a second run reuses them.
        out: folder for the report.
    """
    from linescape import report, studies

    study = studies.find("vlaar2022", "demo")
    report.check_free(out)  # before the minutes of work
    _work(study, store)
    _report(study, store, out)


@app.command(name="list")
def list_studies() -> None:
    """List the studies, their scales and their arms."""
    from linescape import studies

    for name in studies.names():
        for scale in studies.scales(name):
            study = studies.find(name, scale)
            stdout.print(f"{name} at scale {scale}: {study.title} {study.source}.", style="bold")
            table = Table("arm", "group", "description", "baseline", "runs", box=None)
            for arm in study.arms:
                table.add_row(arm.name, arm.group, arm.title, arm.baseline, str(len(arm.runs)))
            stdout.print(table)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection:
    """A part of a study, and the folder of its results.

    Attributes:
        scale: the scale, from minutes on 2 cores (demo, mini) to the setting of the source (cifar10).
        arms: only these arms; all if none is named.
        runs: only the first runs of each arm, this many.
        store: folder of results.
    """

    scale: str = "mini"
    arms: Annotated[tuple[str, ...], Many] = ()
    runs: int | None = None
    store: Path = Path("runs")

    def study(self, name: str) -> Study:
        """The selected part of the named study."""
        from linescape import studies

        return studies.find(name, self.scale).only(*self.arms, runs=self.runs)


WHOLE = Selection()


@app.command(name="plan")
def plan_study(name: str, selection: Selection = WHOLE, *, device: str = "cpu") -> None:
    """Count the missing trainings and lines of a study, and estimate time and disk space.

    Times a few steps of each network on the device. Lists the data sets and weights that have to be fetched first.

    Args:
        name: the study.
        device: where it would run: cpu (all cores) or cuda.
    """
    from linescape.cli import specs
    from linescape.studies.run import plan
    from linescape.studies.store import Store

    echo(str(plan(selection.study(name), Store(selection.store), specs.device(device))))


@app.command(name="run")
def run_study(name: str, selection: Selection = WHOLE, *, device: str = "cpu") -> None:
    """Run the missing trainings and lines of a study. Interrupt it at any time; the same command continues.

    Results that are damaged are made again.

    Args:
        name: the study.
        device: where to train and to measure: cpu (all cores) or cuda.
    """
    _work(selection.study(name), selection.store, device)


@app.command(name="report")
def report_study(name: str, selection: Selection = WHOLE, *, out: Path = Path("report")) -> None:
    """Write the report of the finished part of a study: an HTML page, its figures and its tables.

    Results that are damaged are left out, and listed. A folder with other files of these names is left alone.

    Args:
        name: the study.
        out: folder for the report.
    """
    _report(selection.study(name), selection.store, out)


def train(
    *,
    model: str = "resnet,depth=8,width=8",
    data: str = "fashion-mini,size=14,augment=crop-flip",
    optimizer: str = "sgd,weight_decay=5e-4",
    schedule: str = "step,epochs=6,drops=2/4",
    seed: int = 0,
    under: Annotated[tuple[str, ...], Many] = (),
    device: str = "cpu",
    store: Path = Path("runs"),
) -> None:
    """Train one network and print the checkpoint files of its start and its end.

    Args:
        model: mlp, lenet, vgg, resnet or efficientnet-lite, with settings, as in resnet,depth=18,norm=none.
        data: a data set, with settings, as in fashion-mini,size=14,fraction=0.2.
        optimizer: sgd, adam or adamw, as in adam,lr=0.001,batch_size=64 or sgd,precision=bfloat16.
        schedule: constant, step or cosine, as in step,epochs=6,drops=2/4.
        seed: the seed of all random draws; replicates differ in it.
        under: interventions, as in weight_decay=0, adversarial or from_file=PATH.
        device: cpu or cuda.
        store: folder for results.
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
        sys.exit(2)
    results = Store(store)
    for last in results.log(recipe).tail(1).iter_rows(named=True):  # none after 0 epochs
        echo_err(f"test error {last['test_error']:.2f} %, test loss {last['test_loss']:.4f} nats")
    for moment in (Moment(recipe, "start"), Moment(recipe, "end")):
        echo(str(results.path(moment)))


def _work(tasks: Study | list[Train], store: Path, device: str = "cpu") -> RunSummary:
    from linescape.cli import specs
    from linescape.studies.run import work
    from linescape.studies.store import Store

    summary = work(tasks, Store(store), specs.device(device))
    echo_err(str(summary))
    return summary


def _report(study: Study, store: Path, out: Path) -> None:
    from linescape import report
    from linescape.errors import StoreError
    from linescape.studies.store import Store

    results = Store(store)
    if not results.exists():
        raise StoreError(f"{store} has no results, so there is nothing to report. Name their folder with --store.")
    page = report.write(study, results, out)
    for reason in results.damaged.values():
        echo_err(f"Left out: {reason}")
    echo(str(page))
