from __future__ import annotations

import dataclasses
import math

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from msgspec.structs import replace
from scipy import stats

from linescape import data
from linescape.analysis import tables
from linescape.analysis.tables.results import _start_learnt
from linescape.recipe import Data, Poison, Recipe, Trained
from linescape.report.text import caption
from linescape.shape import LOSS_STATISTICS, estimates, rise_p_value, summary
from linescape.studies.study import Moment
from tests.support.fake_study import BLOCKS, TREATMENTS, FakeStore, results, study


def of(frame: pl.DataFrame, arm: str, seed: int | None = None) -> pl.DataFrame:
    some = frame.filter(pl.col("arm") == arm)
    return some if seed is None else some.filter(pl.col("seed") == seed)


def test_every_run_has_a_row_whatever_became_of_it() -> None:
    runs = results().runs
    assert runs.height == 48
    status = dict(runs.filter(pl.col("status") != "done").select("arm", "status").iter_rows())
    assert status == {
        "data-20": "missing",
        "no-augmentation": "declined",
        "lr-1": "diverged",
        "depth-20": "missing",
    }
    assert of(runs, "data-20", 2)["missing"].to_list() == [["layer2", "fc"]]
    assert of(runs, "depth-20", 2)["missing"][0].to_list() == ["training", "whole", *BLOCKS]
    assert of(runs, "no-augmentation", 2)["reason"][0] == "the training that it starts from diverged"


def test_null_is_not_measured_and_nan_is_measured() -> None:
    runs = results().runs
    assert of(runs, "depth-20", 2)["test_min_delta"][0] is None
    assert of(runs, "depth-20", 2)["test_accuracy"][0] is None
    assert math.isnan(of(runs, "lr-1", 2)["test_min_delta"][0])
    assert math.isnan(of(runs, "lr-1", 2)["distance"][0])


def test_numbers_of_a_run_are_those_of_its_line_and_its_states() -> None:
    made = study()
    store = FakeStore.with_trouble(made)
    run = next(arm for arm in made.arms if arm.name == "adversarial").runs[1]
    row = of(results().runs, "adversarial", 1).row(0, named=True)
    curve = store.curve(run.lines["whole"])
    loss, error = curve["train", "cross_entropy"], curve["train", "error"]
    for name, value in summary(loss.alphas, loss.mean, error.mean, 10).items():
        assert row[f"train_{name}"] == pytest.approx(value, nan_ok=True)
    assert row["train_accuracy"] == pytest.approx(100 - error.mean[-1])
    assert row["test_loss"] == pytest.approx(curve["test", "cross_entropy"].mean[-1])
    start, end = store.state(Moment(run.recipe, "start")), store.state(Moment(run.recipe))
    moved = np.concatenate([(end[name] - start[name]).numpy() for name in start])
    assert row["distance"] == pytest.approx(np.linalg.norm(moved))
    assert row["distance_per_parameter"] == pytest.approx(math.sqrt((moved**2).mean()))
    assert row["chance_loss"] == pytest.approx(math.log(10))
    block = of(results().distances, "adversarial", 1).filter(pl.col("block") == "layer2")
    assert block["parameters"][0] == 250
    assert block["distance"][0] == pytest.approx(
        float((end["layer2.weight"] - start["layer2.weight"]).norm()), rel=1e-12
    )


def test_a_run_without_its_whole_line_has_its_logs_accuracy() -> None:
    made = study(1, 5).only("base")
    store = FakeStore(made)
    store.missing.add(made.arms[0].runs[0].lines["whole"])
    row = tables.read(made, store).runs.row(0, named=True)
    assert row["test_accuracy"] == pytest.approx(100 - store.log(made.arms[0].runs[0].recipe)["test_error"][-1])
    assert row["train_accuracy"] is None  # the log's is of changing weights
    assert row["test_min_delta"] is None


def test_lines_hold_every_position_and_their_kind() -> None:
    lines = results().lines
    assert lines["kind"].unique().sort().to_list() == ["block", "other", "whole"]
    whole = of(lines, "base", 0).filter(
        (pl.col("label") == "whole") & (pl.col("data") == "test") & (pl.col("measure") == "error")
    )
    assert whole.height == 50
    assert whole["alpha"].is_sorted()
    assert of(lines, "depth-20", 2).is_empty()


def test_means_are_over_runs_and_nan_where_one_is() -> None:
    lines = results().lines.filter(
        (pl.col("label") == "whole") & (pl.col("data") == "test") & (pl.col("measure") == "cross_entropy")
    )
    means = tables.means(lines)
    by_hand = np.mean([of(lines, "base", seed)["mean"].to_numpy() for seed in range(3)], axis=0)
    np.testing.assert_allclose(of(means, "base")["mean"].to_numpy(), by_hand)
    diverged = of(means, "lr-1")
    assert diverged.filter(pl.col("alpha") > 0.62)["mean"].is_nan().all()
    assert diverged.filter(pl.col("alpha") < 0.59)["mean"].is_finite().all()


def test_accuracy_is_mean_deviation_and_both_intervals() -> None:
    table = tables.accuracy(results().runs)
    base = of(results().runs, "base")["test_accuracy"].to_numpy()
    other = of(results().runs, "no-weight-decay")["test_accuracy"].to_numpy()
    row = of(table, "no-weight-decay").row(0, named=True)
    assert (row["n"], row["diverged"], row["baseline"]) == (3, 0, "base")
    assert row["deviation"] == pytest.approx(other.std(ddof=1))
    assert (row["low"], row["high"]) == pytest.approx(stats.t.interval(0.95, 2, other.mean(), stats.sem(other)))
    welch = stats.ttest_ind(other, base, equal_var=False).confidence_interval(0.95)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((welch.low, welch.high))


def test_accuracy_counts_diverged_runs_apart_and_compares_only_on_one_test_set() -> None:
    table = tables.accuracy(results().runs)
    assert of(table, "lr-1").select("n", "diverged").row(0) == (2, 1)
    assert of(table, "depth-20")["n"][0] == 2
    assert of(table, "mlp-spiral")["difference"][0] is None
    assert of(table, "base")["difference"][0] is None


def test_what_changes_the_test_split_changes_its_name() -> None:
    base = Data(classes=(0, 1), label_noise=0.1)
    others = {
        "name": "digits",
        "size": 14,
        "classes": (0, 2),
        "fraction": 0.5,
        "label_noise": 0.2,
        "poison": Poison(),
        "augment": "flip",
        "mixup": 0.1,
        "shuffled_blocks": 14,
        "held_out": 0.1,
    }
    assert {*others, "own"} == set(Data.__struct_fields__)
    test = data.load(base).test
    for field, value in others.items():
        spec = replace(base, **{field: value})
        other = data.load(spec, seed=1).test
        same = torch.equal(other.inputs, test.inputs) and torch.equal(other.targets, test.targets)
        assert (tables.test_set(spec) == tables.test_set(base)) == same, field


def test_comparable_is_the_common_test_set() -> None:
    found = tables.comparable(results().runs)
    assert found["test_set"].n_unique() == 1
    assert "mlp-spiral" not in found["arm"]
    assert "data-20" in found["arm"]  # less training data, the same test set


def test_partial_stands_beside_from_scratch() -> None:
    table = tables.partial(results())
    assert table["arm"].to_list() == ["base", "ri-layer1", "ri-layer2", "ri-layer3"]
    assert table["reset"].to_list() == ["", "layer1", "layer2", "layer3"]


def test_shapes_count_lines_that_are_not_monotone() -> None:
    table = tables.shapes(results().runs)
    assert of(table, "no-weight-decay").select("n", "not_monotone").row(0) == (3, 3)
    assert of(table, "lr-1").select("n", "not_monotone").row(0) == (2, 2)
    assert of(table, "base")["not_monotone"][0] == 0
    assert of(table, "base")["plateau_loss"][0] > 0.8


def test_a_store_with_nothing_gives_empty_tables_with_all_columns() -> None:
    made = study(2, 5).only("base", "ri-layer1", "mlp-spiral")
    nothing = tables.read(made, FakeStore(made, missing=set(made.tasks())))
    assert nothing.runs["status"].to_list() == ["missing"] * 6
    assert nothing.runs.columns == results().runs.columns
    assert nothing.lines.columns == results().lines.columns
    assert nothing.lines.is_empty()
    assert tables.accuracy(nothing.runs)["n"].to_list() == [0, 0, 0]
    assert tables.shapes(nothing.runs).is_empty()


@pytest.mark.parametrize(
    ("data", "expected"), [(Data("cifar100"), 100), (Data("mnist", classes=(3, 5)), 2), (Data("something-else"), None)]
)
def test_classes(data: Data, expected: int | None) -> None:
    assert tables.classes(data) == expected


def test_an_interval_of_accuracy_ends_at_100() -> None:
    runs = results().runs.filter(pl.col("arm") == "mlp-digits")
    high = runs.with_columns(test_accuracy=pl.Series([99.0, 99.9, 90.0]))
    assert tables.accuracy(high)["high"].to_list() == [100.0]
    equal = runs.with_columns(test_accuracy=pl.Series([99.0, 99.0, 99.0]))
    assert tables.accuracy(equal)["high"].is_nan().all()


def test_barrier_statistics_of_the_whole_line_have_bootstrap_intervals() -> None:
    made = study()
    run = next(arm for arm in made.arms if arm.name == "adversarial").runs[1]
    loss = FakeStore.with_trouble(made).curve(run.lines["whole"])["test", "cross_entropy"]
    own = of(results().statistics, "adversarial", 1)
    assert own["number"].to_list() == list(LOSS_STATISTICS)
    found = estimates(loss.alphas, loss.values, LOSS_STATISTICS)["hump"]
    row = own.filter(pl.col("number") == "hump").row(0, named=True)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((found.value, found.low, found.high))
    in_runs = of(results().runs, "adversarial", 1)
    assert row["value"] == in_runs["test_hump"][0]
    assert in_runs["rise_p_value"][0] == rise_p_value(loss.alphas, loss.values)


def test_a_line_with_treatments_is_apart_and_makes_no_number_of_the_runs() -> None:
    made = study(1, 21, treatments=True).only("base", "mlp-digits")
    store = FakeStore(made, examples=50)
    read = tables.read(made, store)
    plain = tables.read(study(1, 21).only("base", "mlp-digits"), store)
    assert read.runs["test_hump"].to_list() == plain.runs["test_hump"].to_list()
    assert set(read.lines.filter(pl.col("label") == "treatments")["kind"]) == {"treatments"}
    assert set(read.lines.filter(pl.col("kind") == "whole")["label"]) == {"whole"}
    own = of(read.statistics, "base").filter(pl.col("label") == "treatments")
    assert own["batchnorm"].unique(maintain_order=True).to_list() == list(TREATMENTS)
    assert own["low"].null_count() == own.height == len(TREATMENTS) * len(LOSS_STATISTICS)


def test_accuracy_is_the_logs_where_the_line_saw_a_part_of_the_test_half() -> None:
    made = study(1, 5).only("base")
    run = made.arms[0].runs[0]
    whole = msgspec.structs.replace(run.lines["whole"], test_examples=50)
    made = dataclasses.replace(
        made, arms=(dataclasses.replace(made.arms[0], runs=(dataclasses.replace(run, lines={"whole": whole}),)),)
    )
    store = FakeStore(made, examples=50)
    row = tables.read(made, store).runs.row(0, named=True)
    log = store.log(run.recipe)
    assert row["test_accuracy"] == 100 - log["test_error"][-1]
    assert row["test_loss"] == log["test_loss"][-1]
    assert row["test_examples"] == 50
    assert row["test_min_delta"] is not None


def test_rising_is_holms_over_the_runs_of_an_arm() -> None:
    runs = results().runs.filter(pl.col("arm").is_in(["base", "no-weight-decay"]))
    p_values = pl.Series([0.02, 0.03, 0.2, 0.01, 0.02, 0.03])
    found = tables.rising(runs.with_columns(rise_p_value=p_values))
    assert found["rises"].to_list() == [False, False, False, True, True, True]
    assert tables.rising(runs.clear()).height == 0
    assert of(tables.shapes(results().runs), "no-weight-decay")["rising"][0] == 3


def test_arms_whose_wrong_labels_were_not_learnt_are_called_so() -> None:
    made = study()
    errors = {0: 3.0, 1: 86.5, 2: 86.8}
    runs = pl.DataFrame(
        [
            {
                "arm": arm.name,
                "seed": run.recipe.seed,
                "start_error": (error := errors[run.recipe.seed]),
                "start_learnt": error <= 20,
                "decay_sum": 1.0,
            }
            for arm in made.arms
            for run in arm.runs[:3]
        ]
    )
    few = dataclasses.replace(made, arms=tuple(dataclasses.replace(arm, runs=arm.runs[:3]) for arm in made.arms))
    found = dataclasses.replace(results(), study=few, runs=runs)
    table = tables.learnt(found)
    assert table["arm"].unique().to_list() == ["adversarial"]
    assert table["learnt"].to_list() == [True, False, False]
    (row,) = tables.not_learnt(found).to_dicts()
    assert (row["failed"], row["known"], row["lowest"], row["highest"]) == (2, 3, 86.5, 86.8)
    assert "in 2 of 3 runs (training error on them 86.5 to 86.8 %)" in caption("not_learnt", arm=row)
    assert tables.not_learnt(results()).is_empty()


def test_the_effect_of_weight_decay_is_known_for_sgd() -> None:
    frame = tables.decays(results())
    assert set(frame["arm"]) <= {arm.name for arm in study().arms}
    assert frame["decay_sum"].is_sorted(descending=True)
    assert frame.filter(pl.col("weight_decay") == 0)["decay_sum"].to_list() == [0.0] * (
        frame.filter(pl.col("weight_decay") == 0).height
    )


def test_an_error_as_large_as_the_share_of_wrong_labels_has_learnt_none_of_them() -> None:
    class Logs(FakeStore):
        def log(self, recipe: Recipe) -> pl.DataFrame:
            return pl.DataFrame({"epoch": [0], "train_error": [9.0], "test_loss": [1.0], "test_error": [30.0]})

    def learnt(data: Data) -> bool | None:
        plain = Recipe(data=Data("fashion-mini"))
        noisy = msgspec.structs.replace(plain, init=Trained(msgspec.structs.replace(plain, data=data)))
        return _start_learnt(noisy, Logs(study())).get("start_learnt")  # type: ignore[return-value]

    assert learnt(Data("fashion-mini", poison=Poison())) is True
    assert learnt(Data("fashion-mini", label_noise=0.1)) is False
    assert learnt(Data("fashion-mini", label_noise=0.5)) is True
    assert learnt(Data("fashion-mini", fraction=0.5)) is None


def test_the_loss_of_each_epoch_is_that_of_the_log() -> None:
    """Whose epochs count from 0."""
    store = FakeStore(study())
    losses = tables.read(study(), store).losses
    run = study().arms[0].runs[0]
    of_run = losses.filter(arm=study().arms[0].name, seed=run.seed)
    assert of_run["train_loss"].to_list() == store.log(run.recipe)["train_loss"].to_list()
    assert of_run["epoch"].to_list() == list(range(1, 1 + run.recipe.schedule.epochs))
