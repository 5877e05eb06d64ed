"""Damages to stores, as many as wanted: `python -m tests.support.damage --finished 300 --unfinished 200`.

Each store is a copy of a small one, finished or stopped in the middle, with one to three changes to its files. A report
is read from it, which must have no number that the undamaged one has not; then `work` runs, after which all results
must have the bits of a run that nothing befell. Prints what came of it, as JSON; "used in silence" has to be 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

import linescape.studies.trainings
from linescape.analysis import tables
from linescape.errors import StoreError
from linescape.recipe import MLP, Data, Optimizer, Recipe, Schedule
from linescape.studies.doing import do
from linescape.studies.layout import folder_of
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Arm, Moment, Run, Scan, Study, Task, Train
from linescape.training import interventions as change
from tests.support.small_study import result

PLAIN = Recipe(Data("spiral", fraction=0.05), MLP((8,), norm="batch"), Optimizer(batch_size=50), Schedule(3))
OTHER = replace(PLAIN, seed=1)
LATER = change.partial(PLAIN, "fc", optimizer="kept")
NEVER = change.restart_at_barrier(OTHER)  # declined, as the line of the other has no hump
VOLATILE = ("finished", "seconds", "remarks", "files")


def study() -> Study:
    def run(recipe: Recipe) -> Run:
        line = Scan(Moment(recipe, "start"), Moment(recipe), alphas=5, train_examples=20, test_examples=40)
        return Run(recipe, {"whole": line, "fc": replace(line, block="fc")})

    arms = {"plain": (PLAIN, OTHER), "later": (LATER,), "never": (NEVER,)}
    made = tuple(Arm(name, "base", name, tuple(map(run, recipes)), "plain") for name, recipes in arms.items())
    within = {"midway": Scan(Moment(PLAIN, "epoch", 1), Moment(PLAIN, "step", 5), alphas=5, train_examples=20)}
    made += (Arm("within", "base", "within", (Run(PLAIN, within),), "plain"),)
    return Study("test", "tiny", "a study", "nowhere", made)


class _Stopped(Exception):
    pass


def stopped(task: Task, store: Store, after: float) -> None:
    """Do a task until some share of it is done."""

    def stop(share: float) -> None:
        if share > after:
            raise _Stopped

    with store.claim(task), suppress(_Stopped):
        do(task, store, report=stop)


def contents(store: Store, tasks: tuple[Task, ...]) -> dict[str, object]:
    """All that a store says of tasks, without times."""
    found: dict[str, object] = {}
    for task in tasks:
        record = store.record(task)
        found[f"{task.key} record"] = {name: value for name, value in record.items() if name not in VOLATILE}
        if "declined" not in record:
            found |= result(store, task)
    return found


def told(results: tables.Results) -> dict[str, set[str]]:
    """The numbers that a report would show, by table; those of a run as (run, column, value)."""
    said = {
        name: {repr(row) for row in getattr(results, name).iter_rows()}
        for name in ("lines", "statistics", "layers", "distances")
    }
    # Which say what is left out, are times, or are taken from the log where a line is left out.
    unchecked = {"status", "missing", "reason", "seconds", "test_loss", "test_accuracy", "train_loss", "train_accuracy"}
    said["runs"] = {
        repr((row["key"], name, value))
        for row in results.runs.drop(unchecked).iter_rows(named=True)
        for name, value in row.items()
        if value is not None
    }
    return said


class Damage:
    """Ways to damage the files of a store, drawn from one source."""

    def __init__(self, root: Path, draw: random.Random) -> None:
        self.root, self.draw = root, draw
        self.said: list[str] = []
        self.ways: tuple[Callable[[], object], ...] = (
            *(self.flip, self.flip, self.cut, self.delete, self.zero_tail, self.empty, self.number, self.number),
            *(self.insert, self.swap, self.swap, self.copy, self.swap_folders, self.field, self.forge),
        )

    def some(self) -> list[str]:
        """Do one to three of them; returns what was done."""
        for _ in range(self.draw.choice((1, 1, 1, 2, 3))):
            way = self.draw.choice(self.ways)
            self.said.append(f"{way.__name__} {way()}")
        return self.said

    def files(self, pattern: str = "*") -> list[Path]:
        return sorted(path for path in self.root.rglob(pattern) if path.is_file() and not path.name.startswith("."))

    def one(self, pattern: str = "*") -> Path:
        """A file, of all kinds alike; more often one of half-done work, and rarely the mark of the store."""
        kinds: dict[str, list[Path]] = {}
        for path in self.files(pattern) or self.files():
            kinds.setdefault("point" if path.parent.name == "points" else path.name, []).append(path)
        if len(kinds) > 1 and self.draw.random() < 0.9:
            kinds.pop("linescape.json", None)
        half_done = [kind for kind in ("point", "resume.safetensors") if kind in kinds]
        among = half_done if half_done and self.draw.random() < 0.7 else sorted(kinds)
        return self.draw.choice(kinds[self.draw.choice(among)])

    def change(self, how: Callable[[bytearray], bytes | bytearray], pattern: str = "*") -> Path:
        path = self.one(pattern)
        path.write_bytes(how(bytearray(path.read_bytes())))
        return path.relative_to(self.root)

    def flip(self) -> Path:
        def flipped(content: bytearray) -> bytearray:
            for _ in range(self.draw.choice((1, 1, 4)) if content else 0):
                content[self.draw.randrange(len(content))] ^= 1 << self.draw.randrange(8)
            return content

        return self.change(flipped)

    def cut(self) -> Path:
        return self.change(lambda content: content[: self.draw.randint(0, len(content))])

    def zero_tail(self) -> Path:
        def zeroed(content: bytearray) -> bytes:
            place = self.draw.randint(0, len(content))
            return bytes(content[:place]) + bytes(len(content) - place)

        return self.change(zeroed)

    def empty(self) -> Path:
        return self.change(lambda _: b"")

    def insert(self) -> Path:
        def longer(content: bytearray) -> bytes:
            place = self.draw.randint(0, len(content))
            return bytes(content[:place]) + self.draw.randbytes(self.draw.randint(1, 20)) + bytes(content[place:])

        return self.change(longer)

    def number(self) -> Path:
        """Another digit in a text, or in the header of a file of tensors."""

        def edited(content: bytearray) -> bytearray:
            places = [place for place, byte in enumerate(content) if 48 <= byte < 58]
            if places:
                content[self.draw.choice(places)] = self.draw.randrange(48, 58)
            return content

        return self.change(edited)

    def delete(self) -> Path:
        path = self.one()
        path.unlink()
        return path.relative_to(self.root)

    def pair(self) -> tuple[Path, Path]:
        """Two files of one kind, of two tasks or of one."""
        one = self.one()
        alike = [path for path in self.files(f"*{one.suffix}") if path != one and path.parent.name == one.parent.name]
        alike += [path for path in self.files(one.name) if path != one]
        return one, self.draw.choice(alike or [one])

    def swap(self) -> str:
        one, other = self.pair()
        contents = one.read_bytes(), other.read_bytes()
        one.write_bytes(contents[1])
        other.write_bytes(contents[0])
        return f"{one.relative_to(self.root)} {other.relative_to(self.root)}"

    def copy(self) -> str:
        one, other = self.pair()
        one.write_bytes(other.read_bytes())
        return f"{other.relative_to(self.root)} to {one.relative_to(self.root)}"

    def swap_folders(self) -> str:
        kind = self.draw.choice(("train", "scan"))
        folders = sorted((self.root / kind).glob("*"))
        if len(folders) < 2:
            return "none"
        one, other = self.draw.sample(folders, 2)
        aside = self.root / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        return f"{one.relative_to(self.root)} {other.relative_to(self.root)}"

    def field(self) -> str:
        """A field of a record left out, or with another value."""
        path = self.one("done.json")
        try:
            record = json.loads(path.read_bytes())
            name = self.draw.choice(sorted(record))
        except (ValueError, TypeError, IndexError):
            return "none"
        value = record.pop(name)
        if self.draw.random() < 0.6:
            record[name] = (
                value + 1 if isinstance(value, float | int) else {} if isinstance(value, dict) else f"{value}x"
            )
        path.write_text(json.dumps(record, indent=1))
        return f"{path.relative_to(self.root)} {name}"

    def forge(self) -> str:
        """Another number in a file of results, and the checksum in the record as if it were right."""
        path = self.one("*.safetensors")
        content = bytearray(path.read_bytes())
        if not content:
            return "none"
        content[-1 - self.draw.randrange(min(len(content), 40))] ^= 1 << self.draw.randrange(8)
        path.write_bytes(content)
        note = path.parent / "done.json"
        try:
            record = json.loads(note.read_bytes())
            record["files"][path.name] = hashlib.sha256(content).hexdigest()
            note.write_text(json.dumps(record, indent=1))
        except (OSError, ValueError, TypeError, KeyError):
            return f"{path.relative_to(self.root)} alone"
        return f"{path.relative_to(self.root)}"


def note(store: Store, tasks: Iterable[Task]) -> None:
    """Remember of a copy that its bytes are right, as a store does of results that are not of just now."""
    for task in tasks:
        if store.has(task):
            checksums, present = store.record(task)["files"], store.place.signatures(folder_of(task))
            store._note(task, checksums, {name: present[name] for name in checksums})


class Trial:
    """What is right, and what comes of a damaged copy."""

    def __init__(self, whole: Path) -> None:
        self.study = study()
        self.tasks = self.study.tasks()
        self.expected = contents(Store(whole), self.tasks)
        self.told = told(tables.read(self.study, Store(whole)))

    def outcome(self, root: Path) -> str:
        """In a few words, what came of it; `why` is what was wrong."""
        self.why = ""
        try:
            store = Store(root)
            found = told(tables.read(self.study, store))
            left_out = bool(store.damaged)
            if wrong := [(name, one) for name in found for one in found[name] - self.told[name]]:
                self.why = f"report: {wrong[:3]}"
                return "used in silence"
            outcome = work(self.tasks, Store(root), progress=False, workers=1)
        except StoreError as error:
            return f"refused: {str(error).replace(str(root), '')[:60]}"
        if outcome.failed:
            return "failed for ever"
        got = contents(Store(root), self.tasks)
        if different := [name for name, value in got.items() if value != self.expected[name]]:
            self.why = f"results: {different[:3]}"
            return "used in silence"
        if outcome.remarks:
            return "made again, and said"
        if left_out:
            return "made again without a word"
        return "made again, as it was missing" if outcome.before < len(self.tasks) else "nothing to mend"


def main(finished: int, unfinished: int, seed: int, verbose: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    linescape.studies.trainings.SNAPSHOT_SECONDS = 0.0
    draw, tasks, begun = random.Random(seed), study().tasks(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        whole, half = Path(scratch, "whole"), Path(scratch, "half")
        first = work(tasks, Store(whole), progress=False, workers=1)
        assert not first.failed, first.failed
        for task in tasks:  # trainings alone, as far as they can be done alone
            if isinstance(task, Train) and not task.needs():
                stopped(task, Store(half), 0.7)
        later = Path(scratch, "later")
        shutil.copytree(half, later)
        work([Train(PLAIN), Train(OTHER)], Store(later), progress=False, workers=1)
        for task in tasks:
            if all(Store(later).has(need) for need in task.needs()) and not Store(later).has(task):
                stopped(task, Store(later), 0.5)
        trial, counts = Trial(whole), {"finished": Counter[str](), "unfinished": Counter[str]()}
        for kind, count in (("finished", finished), ("unfinished", unfinished)):
            for number in range(count):
                root = Path(scratch, "damaged")
                shutil.copytree(whole if kind == "finished" else draw.choice((half, later)), root)
                note(Store(root), tasks)
                said = Damage(root, draw).some()
                outcome = trial.outcome(root)
                counts[kind][outcome] += 1
                if verbose or outcome in ("used in silence", "failed for ever", "made again without a word"):
                    print(kind, number, outcome, trial.why, said, file=sys.stderr)
                shutil.rmtree(root)
    silent = sum(counter["used in silence"] for counter in counts.values())
    return {"used in silence": silent, **counts, "seconds": round(time.monotonic() - begun)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option, default in (("finished", 300), ("unfinished", 200), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--verbose", action="store_true")
    print(json.dumps(main(**vars(parser.parse_args())), indent=1))
