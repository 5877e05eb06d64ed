"""A walk that is cut into parts is the walk in one piece, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from linescape.errors import StoreError
from linescape.interpolation.options import grid
from linescape.studies.doing import do
from linescape.studies.executors.anywhere import do_unit
from linescape.studies.kinds.line import positions_of
from linescape.studies.schedule import Outcome, Unit
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Train
from tests.support.small_study import BASE, FLAT, whole

ALL = ("interpolate", "recalibrate", "start", "end", "batch")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("trained"))
    for recipe in (BASE, FLAT):
        do(Train(recipe), store)
    return store


@pytest.mark.parametrize(
    "scan", [whole(BASE, alphas=7, batchnorm=ALL, test_examples=100), whole(FLAT, alphas=5, block="fc")]
)
def test_parts_are_joined_to_the_bit(scan: Scan, trained: Store) -> None:
    do(scan, trained)
    expected, record = trained.curve(scan), trained.record(scan)
    (trained.folder(scan) / "done.json").unlink()
    measured = list[float]()
    for part in ((2, 3), (0, 3), (1, 3)):  # in any order
        do(scan, trained, report=measured.append, part=part)
        assert not trained.has(scan)
    assert measured.count(1.0) == 3
    assert len(measured) == scan.alphas
    do(scan, trained, report=measured.append)
    assert len(measured) == scan.alphas  # nothing was measured twice
    joined = trained.curve(scan)
    assert joined.alphas.tobytes() == expected.alphas.tobytes()
    assert joined.values.keys() == expected.values.keys()
    assert all(joined.values[key].tobytes() == values.tobytes() for key, values in expected.values.items())
    assert {**joined.provenance, "seconds": 0} == {**expected.provenance, "seconds": 0}
    times = {"seconds", "finished", "files"}
    assert {name: value for name, value in trained.record(scan).items() if name not in times} == {
        name: value for name, value in record.items() if name not in times
    }


@pytest.mark.parametrize(("alphas", "count"), [(2, 2), (7, 3), (50, 7), (3, 5)])
def test_parts_hold_each_position_once(alphas: int, count: int) -> None:
    positions = grid(alphas)
    parts = [positions_of((number, count), positions) for number in range(count)]
    assert [alpha for part in parts for alpha in part] == list(positions)
    assert np.ptp([len(part) for part in parts]) <= 1


def test_parts_and_the_whole_exclude_each_other_and_parts_do_not(trained: Store) -> None:
    scan, other = whole(FLAT, alphas=6), Store(trained.root)
    with trained.claim(scan, (0, 2)) as first, other.claim(scan, (1, 2)) as second:
        assert (first, second) == (True, True)
        with other.claim(scan, (0, 2)) as again, other.claim(scan) as all_:
            assert (again, all_) == (False, False)
    with trained.claim(scan) as all_, other.claim(scan, (0, 2)) as part:
        assert (all_, part) == (True, False)
    with trained.claim(scan) as now:
        assert now


def test_a_part_of_a_line_that_is_declined_leaves_it_to_the_whole(trained: Store) -> None:
    lost = replace(FLAT, seed=7)
    scan = Scan(Moment(lost, "start"), Moment(lost), alphas=4)
    trained.decline(Train(lost), "its start was lost", {})
    assert do_unit(Unit(scan, part=(0, 2)), trained, "cpu") == Outcome("done")
    assert not trained.has(scan)
    assert do_unit(Unit(scan), trained, "cpu") == Outcome("done")
    assert trained.declined(scan) == "its start was lost"


def test_a_part_whose_need_is_not_there_is_lost(trained: Store) -> None:
    absent = replace(FLAT, seed=8)
    scan = Scan(Moment(absent, "start"), Moment(absent), alphas=4)
    assert do_unit(Unit(scan, part=(0, 2)), trained, "cpu").kind == "lost"
    with pytest.raises(StoreError):
        do(scan, trained)
