"""A study of a network and data that are not linescape's, from a file of twenty lines."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.executors.local
from linescape import models, report, studies
from linescape.analysis import tables
from linescape.data import load
from linescape.errors import CheckpointError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.recipe import LSTM, MLP, Data, OwnModel, Recipe, user_code
from linescape.studies import planning
from linescape.studies.executors.anywhere import Target, message, outcome_of
from linescape.studies.own_code import changed_code
from linescape.studies.processes import Processes, reply_of, send
from linescape.studies.run import work
from linescape.studies.schedule import Outcome, Unit
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Study, Train
from tests.support.own_study import FILE, as_file
from tests.support.small_study import results


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", math.inf)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with as_file(tmp_path_factory.mktemp("own")) as file:
        yield file


@pytest.fixture(scope="module")
def study(file: Path) -> Study:
    return studies.find(str(file))


@pytest.fixture(scope="module")
def done(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("done"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", math.inf)
        outcome = work(study, store, progress=False)
    assert (outcome.done, outcome.failed, outcome.declined) == (6 + 18, {}, {})
    return store


WHOLE_NUMBERS = """
import torch


def tokens():
    inputs = torch.arange(240).reshape(60, 4) % 7
    return {"train": (inputs, inputs[:, 0] % 2), "test": (inputs, inputs[:, 0] % 2)}
"""


@pytest.mark.parametrize(("model", "named"), [(MLP((4,)), "MLP"), (LSTM(4), "LSTM")])
def test_whole_numbers_and_a_network_that_multiplies_them_are_refused_in_plan_and_run(
    model: MLP | LSTM, named: str, tmp_path: Path
) -> None:
    file = tmp_path / "tokens_of_mine.py"
    file.write_text(WHOLE_NUMBERS)
    recipe = Recipe(Data.of(f"{file}:tokens"), model)
    message = f"The inputs are whole numbers \\(int64\\), which the network {named} cannot multiply"
    with pytest.raises(RecipeError, match=message):
        planning.plan([Train(recipe)], Store(tmp_path / "runs"))
    for task in (Train(recipe), Scan(Moment(recipe, "start"), Moment(replace(recipe, seed=1), "start"))):
        (reason,) = work([task], Store(tmp_path / "runs"), progress=False, workers=1).failed.values()
        assert re.match(message, reason)


def test_arms_are_changes_of_the_base_and_blocks_the_networks(study: Study) -> None:
    assert [(arm.name, arm.group, arm.baseline) for arm in study.arms] == [
        ("base", "base", "base"),
        ("no-momentum", "optimizer", "base"),
        ("wide", "model", "base"),
    ]
    for arm in study.arms:
        assert [run.recipe.seed for run in arm.runs] == [0, 1]
        assert list(arm.runs[0].lines) == ["whole", "body", "head"]
    assert study.arms[1].runs[0].recipe.optimizer.momentum == 0
    wide = study.arms[2].runs[1].recipe.model
    assert isinstance(wide, OwnModel)
    assert wide.values == {"width": 12}
    assert len(FILE.strip().splitlines()) <= 30


def test_a_line_measures_what_the_users_own_code_gives(study: Study, done: Store) -> None:
    """Against the network called by hand with the mean of both states' weights, on the data as they are."""
    recipe = study.arms[0].runs[1].recipe
    curve = done.curve(study.arms[0].runs[1].lines["whole"])
    states = done.state(Moment(recipe, "start")), done.state(Moment(recipe))
    dataset = load(recipe.data)
    assert dataset.std == ()
    network = models.draw(recipe.model, dataset.shape, dataset.classes, recipe.init, 0).eval()  # type: ignore[arg-type]
    middle = {name: (states[0][name].double() + states[1][name].double()) / 2 for name in states[0]}
    middle = {name: value.to(states[0][name].dtype) for name, value in middle.items()}
    network.load_state_dict(middle)
    with torch.no_grad():
        outputs = network.double()(dataset.test.inputs.double())
    loss = torch.nn.functional.cross_entropy(outputs, dataset.test.targets, reduction="none")
    assert curve["test", "cross_entropy"].values[2] == pytest.approx(loss.numpy(), rel=1e-4, abs=1e-5)
    log = done.log(recipe)
    assert curve["test", "error"].mean[-1] == log["test_error"][-1]


@pytest.mark.slow  # test_interrupted.py kills a study in the quick tests
def test_kills_change_no_bit(file: Path, tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(FILE)
    command = [sys.executable, "-m", "tests.support.own_study", str(tmp_path), "1"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 10
    with as_file(tmp_path):
        tasks = studies.find(str(tmp_path / "my_study.py")).only("base", "wide", runs=1).tasks()
    assert results(Store(tmp_path / "killed"), tasks) == results(Store(tmp_path / "whole"), tasks)


def test_helpers_find_the_users_code(study: Study, done: Store, tmp_path: Path) -> None:
    tasks = study.only("base", runs=1).tasks()
    place = Target.of(Store(tmp_path / "store"), "cpu")
    with Processes("linescape.studies.executors.local:help_out") as helpers:
        helper = helpers.begin()
        reply_of(helper)
        for task in tasks:
            send(helper, message(Unit(task), place))
            assert outcome_of(reply_of(helper)) == Outcome("done")
    assert results(Store(tmp_path / "store"), tasks) == results(done, tasks)


def test_the_report_answers_the_studys_own_question_only(study: Study, done: Store, tmp_path: Path) -> None:
    page = report.write(study, done, tmp_path / "report").read_text()
    text = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    text = re.sub(r'<section id="definitions".*?</section>', "", text, flags=re.DOTALL)  # names who defined them
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())
    assert "Does momentum matter?" in words
    assert "How do each arm's line and test accuracy differ from its baseline's?" in words
    assert "on waves" in words
    assert "no-momentum" in words
    for foreign in ("the source", "Vlaar", "pre-train", "rimary contrast", "ublished"):
        assert foreign not in words, foreign
    assert re.findall(r'<li id="answer-([\w-]+)"', page) == ["arms-and-line"]


def test_changed_code_is_noticed_and_done_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "store")
    with as_file(tmp_path) as own:
        before = studies.find(str(own)).only("base", runs=1)
        work(before, store, progress=False)
        assert changed_code(before, store) == ()
        own.write_text(FILE.replace("arms = {", "# a remark\narms = {'decay': {'weight_decay': 0.1}, ") + "\n")
        assert studies.find(str(own)).only("base", runs=1).tasks() == before.tasks()  # one more arm is no other code
        own.write_text(FILE.replace("mean(2)", "amax(2)"))
        after = studies.find(str(own)).only("base", runs=1)
        assert not set(after.tasks()) & set(before.tasks())
        (said,) = changed_code(after, store)
        assert said.startswith("The code of Net in my_study.py has changed since 4 results of this study were made.")
        capsys.readouterr()
        outcome = work(after, store, progress=False)
        assert (outcome.done, outcome.before) == (4, 0)
        assert "The code of Net in my_study.py has changed" in capsys.readouterr().err.replace("\n", " ")
        user_code.find.cache_clear()  # as in another process
        outcome = work(before, Store(tmp_path / "elsewhere"), progress=False)
        assert len(outcome.failed) == 4
        assert "is not that of this recipe any more" in capsys.readouterr().err
    assert store.has(before.tasks()[0])


def test_what_fails_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    outcome = work([Train(Recipe(Data("fashion-mni")))], Store(tmp_path), progress=False)
    assert len(outcome.failed) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert "There is no data set 'fashion-mni'. Did you mean 'fashion-mini'" in said


def test_a_file_that_works_when_it_is_read_is_refused(tmp_path: Path) -> None:
    text = FILE + "from linescape.studies.run import work\nfrom linescape.studies.store import Store\n"
    text += f"work(study, Store({str(tmp_path / 'store')!r}))\n"
    with as_file(tmp_path, text) as own, pytest.raises(RecipeError, match="without end"):
        studies.find(str(own))
    assert not (tmp_path / "store").exists()


# -- what somebody else trained -----------------------------------------------------------------------------------


def trained_elsewhere(study: Study, done: Store, folder: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Files of torch.save as a training script leaves them, of the study's trainings."""
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    for arm in study.arms[:2]:
        for run in arm.runs:
            files = []
            for at in ("start", "end"):
                files.append(folder / f"{arm.name}-{run.recipe.seed}-{at}.pt")
                state = done.state(Moment(run.recipe, at))
                torch.save({"model": dict(state), "epoch": 3}, files[-1])
            pairs.setdefault(f"lr={arm.name}", []).append((files[0], files[1]))
    return pairs


def test_files_trained_elsewhere_are_only_walked(study: Study, done: Store, tmp_path: Path) -> None:
    base, pairs = study.arms[0].runs[0].recipe, trained_elsewhere(study, done, tmp_path)
    given = Study.of_checkpoints(pairs, model=base.model, data=base.data, lines=("head",), alphas=5)
    assert len(given.tasks()) == 8
    assert all(isinstance(task, Scan) for task in given.tasks())
    store = Store(tmp_path / "store")
    assert work(given, store, progress=False).done == 8
    for arm, trained in zip(given.arms, study.arms, strict=False):
        assert arm.baseline == "lr=base"
        for run, own in zip(arm.runs, trained.runs, strict=True):
            for label in ("whole", "head"):
                walked, expected = store.curve(run.lines[label]), done.curve(own.lines[label])
                key = ("test", "cross_entropy", "interpolate")
                assert walked.values[key].tobytes() == expected.values[key].tobytes()
    read = tables.read(given, store)
    assert read.runs["status"].to_list() == ["done"] * 4
    assert read.runs["seed"].to_list() == [0, 1, 0, 1]
    trained_runs = tables.read(study, done).runs
    assert read.runs["test_accuracy"].to_list() == trained_runs["test_accuracy"].to_list()[:4]
    assert read.runs["distance"].to_list() == trained_runs["distance"].to_list()[:4]
    page = report.write(given, store, tmp_path / "report").read_text()
    assert "4 pairs of Net from files, in 2 arms" in page
    moved = tmp_path / "moved"
    moved.mkdir()
    elsewhere = {
        arm: [(start.rename(moved / start.name), end.rename(moved / end.name)) for start, end in files]
        for arm, files in pairs.items()
    }
    again = Study.of_checkpoints(elsewhere, model=base.model, data=base.data, lines=("head",), alphas=5)
    assert [task.key for task in again.tasks()] == [task.key for task in given.tasks()]
    assert all(map(store.has, again.tasks()))


def test_files_that_do_not_fit_are_said(study: Study, done: Store, tmp_path: Path) -> None:
    base, pairs = study.arms[0].runs[0].recipe, trained_elsewhere(study, done, tmp_path)
    with pytest.raises(RecipeError, match="no pair of files"):
        Study.of_checkpoints({"a": []}, model=base.model, data=base.data)
    with pytest.raises(CheckpointError, match="could not be read"):
        Study.of_checkpoints({"a": [(tmp_path, tmp_path)]}, model=base.model, data=base.data)
    wide = study.arms[2].runs[0].recipe.model
    outcome = work(Study.of_checkpoints(pairs, model=wide, data=base.data), Store(tmp_path / "s"), progress=False)
    assert len(outcome.failed) == 4
    assert all("other shapes than this Net" in reason for reason in outcome.failed.values())


# -- errors -------------------------------------------------------------------------------------------------------


def test_impossible_studies_are_refused(study: Study) -> None:
    base = study.arms[0].runs[0].recipe
    for arms, options, said in (
        ({"a": {"momentm": 0}}, {}, "no 'momentm' to change"),
        ({"a": {"name": "x"}}, {}, "data.name or optimizer.name"),
        ({"a": {"seed": 4}}, {}, "all arms have the same seeds"),
        ({"a": {"momentum": 0}, "b": "momentum=0"}, {}, "'a' and 'b' are the same"),
        ({"a": {}}, {}, "'base' and 'a' are the same"),
        ({"a": 3}, {}, "An arm is 3"),
        ({"a": lambda recipe: None}, {}, "returned a NoneType"),
        ({"a": {"partial": "boody"}}, {}, "Did you mean 'body'"),
        ({"a": {"length": {"epoch": 3}}}, {}, "cannot be applied"),
        ({}, {"lines": ("haed",)}, "Did you mean 'head'"),
        ({}, {"seeds": 0}, "1 or more"),
        ({}, {"seeds": (1, 1)}, "1 or more"),
        ({}, {"alpha": 5}, "Did you mean 'alphas'"),
    ):
        with pytest.raises(RecipeError, match=re.escape(said)):
            Study.of("x", base, arms, **options)  # type: ignore[arg-type]


def test_each_form_of_a_change_gives_the_same_study(study: Study) -> None:
    from msgspec.structs import replace

    base = study.arms[0].runs[0].recipe
    adam = replace(base.optimizer, name="adam", lr=0.01)
    forms = (
        {"optimizer": adam},
        {"optimizer": {"name": "adam", "lr": 0.01}},
        {"optimizer.name": "adam", "lr": 0.01},
        "optimizer=adam,lr=0.01",
        lambda recipe: replace(recipe, optimizer=adam),
    )
    made = [Study.of("x", base, {"adam": form}).arms[1].runs for form in forms]
    assert all(runs == made[0] for runs in made)


def test_a_study_of_ones_own_name_is_not_taken_for_ours(study: Study, done: Store, tmp_path: Path) -> None:
    from dataclasses import replace

    named = replace(study, name="vlaar2022")
    page = report.write(named, done, tmp_path / "report").read_text()
    assert re.findall(r'<li id="answer-([\w-]+)"', page) == ["arms-and-line"]


def test_the_evaluator_takes_the_same_data(study: Study) -> None:
    recipe = study.arms[0].runs[0].recipe
    dataset = load(recipe.data)
    network = models.draw(recipe.model, dataset.shape, dataset.classes, recipe.init, 0)  # type: ignore[arg-type]
    assert Evaluator(network, dataset.tensors()).data.keys() == {"train", "test"}
