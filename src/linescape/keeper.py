"""Keeper: during a training, saves its start, chosen steps and its end, and probes the line when it has ended.

    with Keeper(model, "run", steps=(100, 1000), data={"test": (inputs, targets)}) as keeper:
        for batch in batches:
            ...  # a training step
            keeper.step()
    keeper.probe.statistics  # and run/report/index.html

In Lightning and in Hugging Face's Trainer the callbacks `Keeper.lightning` and `Keeper.trainer` do the same, with or
without ``with``. The training does not change: not its weights, mode, gradients or random state.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Container, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import import_module
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from linescape import atomic, checkpoints
from linescape.errors import RecipeError, StoreError, abbreviate, check_type
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.given import unwrapped
from linescape.geometry.state import State, copied
from linescape.geometry.tensors import alike
from linescape.interpolation import resume
from linescape.interpolation.options import DEFAULT, ScanOptions
from linescape.interpolation.probing import Probe, probe

_BEGUN = re.compile(rf"\.step-\d{{8,}}\.safetensors\..*{re.escape(atomic.SUFFIX)}")
"""Names of checkpoints that were being written when a process was killed."""


class Keeper:
    """Saves checkpoints of a training, and measures the line from its start to its end when it is over.

    They are safetensors in ``FOLDER/checkpoints``, named by their step.

    The start is saved on entering, the end on leaving without an exception. After an exception the saved checkpoints
    remain, a note of the exception names them, and nothing is probed. Where several processes train together, the first
    one writes; it must have all weights (which is not so with FSDP, or DeepSpeed's ZeRO-3). Only plain tensors are
    saved: not sparse or quantised ones, nor what modules save besides (``_extra_state``); if these change, a note says
    so.

    Args:
        model: the network that is trained. Names are saved without the prefixes of `torch.compile` and data
            parallelism.
        folder: for this training only.
        steps: further steps to save, such as ``(100, 1000)``; a number stands for all its multiples.
        data: what to measure the line from start to end on, as for `Evaluator`; or an `Evaluator` of the network, which
            may have other `measures` and `forward`. Without it nothing is probed.
        overwrite: delete the checkpoints of an earlier training in the folder when this one begins, as when a cell of
            a notebook is run again. By default they are an error.
        options: of the scan; points are kept in ``FOLDER/report/points`` until the page is written.

    Attributes:
        kept: step -> file, in the order of writing.
        probe: the line from start to end, once the training has ended.
        page: its report, ``FOLDER/report/index.html``.

    Raises:
        RecipeError: a step below 0, a number of steps below 1, or an argument of another type.
        AlphaError: the options have no position between the two ends.
        StoreError: the folder cannot be looked at.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str | Path,
        steps: int | Container[int] = (),
        data: Mapping[str, Any] | Evaluator | None = None,
        options: ScanOptions = DEFAULT,
        overwrite: bool = False,
    ) -> None:
        check_type(model, nn.Module, "The keeper's model", "Give the torch module that is trained.")
        check_type(folder, (str, Path), "The keeper's folder", "Give the folder to write to.")
        check_type(options, ScanOptions, "options", "Give ScanOptions, as in ScanOptions(alphas=50).")
        _check_steps(steps)
        options.check_between()  # rather than when the training is over
        self.model = unwrapped(model)
        self.folder = Path(folder)
        try:  # rather than when the training begins
            self.folder.exists()
        except OSError as error:
            raise atomic.cannot_read(self.folder, error) from error
        self.steps = range(steps, sys.maxsize, steps) if isinstance(steps, int) else steps
        self.data = data
        self.options = options
        self.overwrite = overwrite
        self.kept: dict[int, Path] = {}
        self._digests: dict[int, str] = {}
        self.probe: Probe | None = None
        self.page: Path | None = None
        self._now = 0
        self._entered = False  # by `with`, which then begins and ends
        self._offset = 0  # from a trainer's count of steps to ours
        self._opaque: dict[str, object] = {}

    def __repr__(self) -> str:
        steps = abbreviate([str(step) for step in self.kept])
        return f"Keeper({self.folder}: {f'steps {steps}' if steps else 'nothing'} saved)"

    def __enter__(self) -> Self:
        """Save the start.

        Raises:
            StoreError: the folder has checkpoints of an earlier training and `overwrite` is not set, or has other
                files, or cannot be written.
            DataError, StateError: the network cannot be measured on the data, or the evaluator is of another network.
        """
        self._begin(0)
        self._entered = True
        return self

    def step(self) -> None:
        """Call this after each training step.

        Raises:
            StoreError: a checkpoint cannot be written.
        """
        self._reach(self._now + 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Save the end and probe, or add a note to an exception that names the saved checkpoints.

        Raises:
            StoreError: something cannot be written.
            DataError, MeasureError, StateError, EndsError: as `probe`; all checkpoints have been saved by then.
        """
        self._entered = False
        self._leave(error)

    def lightning(self) -> Any:
        """The keeper as a callback of Lightning's Trainer (of the package lightning or pytorch_lightning).

        Steps are those of the optimizer, ``trainer.global_step``.

        Raises:
            RecipeError: neither package is installed.
        """
        packages = ("lightning.pytorch", "pytorch_lightning")
        callback: Any = _installed(sorted(packages, key=lambda name: name not in sys.modules), "lightning").Callback
        keeper = self

        class Kept(callback):  # type: ignore[misc]
            def on_train_start(self, trainer: Any, module: nn.Module) -> None:
                keeper._join(module, trainer.global_step)

            def on_train_batch_end(self, trainer: Any, *_: object) -> None:
                keeper._reach(keeper._offset + trainer.global_step)

            def on_train_end(self, *_: object) -> None:
                keeper._leave()

            def on_exception(self, _trainer: Any, _module: Any, error: BaseException) -> None:
                keeper._leave(error)

        return Kept()

    def trainer(self) -> Any:
        """The keeper as a callback of Hugging Face's Trainer; steps are those of the optimizer, ``global_step``.

        Raises:
            RecipeError: transformers is not installed.
        """
        callback: Any = _installed(["transformers"], "hf").TrainerCallback
        keeper = self

        class Kept(callback):  # type: ignore[misc]
            def on_train_begin(self, _args: Any, state: Any, _control: Any, model: nn.Module, **_: Any) -> None:
                keeper._join(model, state.global_step)

            def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
                keeper._reach(keeper._offset + state.global_step)

            def on_train_end(self, *_: Any, **__: Any) -> None:
                keeper._leave()

        return Kept()

    def _begin(self, step: int) -> None:
        if not _first_process():
            return
        earlier = self._earlier()
        # What cannot be measured is an error before hours of training and not after them.
        if self.data is not None:
            with self._random_state_kept():
                evaluator = self.data if isinstance(self.data, Evaluator) else Evaluator(self.model, self.data)
                State.from_module(self.model, copy=False).check_fits(evaluator.model)
                evaluator.count_operations()
                evaluator.try_treatments(self.options.treatments)
        for path in earlier:
            path.unlink(missing_ok=True)
        if earlier and (page := self.folder / "report" / "index.html").exists():
            from linescape.report.page import UNFINISHED

            atomic.write(page, UNFINISHED)  # the report of a training that is no longer there
        self._now = step
        self.kept, self.probe, self.page = {}, None, None
        self._opaque = copied(State.from_module(self.model, copy=False).opaque)
        self._keep(step)

    def _earlier(self) -> list[Path]:
        """The checkpoints of an earlier training in the folder, which may be deleted.

        Also what a training that was killed had begun to write, which is no checkpoint.

        Raises:
            StoreError: they may not, or there are other files.
        """
        folder = self.folder / "checkpoints"
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        files = [path for path in found if not _BEGUN.fullmatch(path.name)]
        names = abbreviate([path.name for path in files], 3)
        if files and not self.overwrite:
            raise StoreError(
                f"{folder} has checkpoints of an earlier training ({names}), which would be mixed with those of this "
                "one. Name another folder, or pass overwrite=True to delete them."
            )
        if not all(re.fullmatch(r"step-\d{8,}\.safetensors", path.name) for path in files):
            raise StoreError(f"{folder} has files that no keeper wrote ({names}). Name another folder.")
        if files:
            from linescape.report import check_free  # heavy, and rarely needed

            check_free(self.folder / "report")
        return found if self.overwrite else []

    def _join(self, trained: nn.Module, step: int) -> None:
        """A trainer begins, at this step by its own count.

        Inside `with`, the training has begun already. Trainers that follow one another there are one training. But one
        that continues from a checkpoint of its own has read other weights than those that were saved on entering.
        """
        self._check_trained(trained)
        if not self._entered:
            self._begin(step)
        elif step and not self._now:
            if self.kept:
                self.kept.pop(0).unlink()
            self._now = step
            self._keep(step)
        self._offset = self._now - step

    def _leave(self, error: BaseException | None = None) -> None:
        """A trainer ends; inside `with`, what follows is the end of that."""
        if self._entered:
            return
        if error is None:
            self._end()
        else:
            self._name_kept(error)

    def _reach(self, step: int) -> None:
        """The training has reached this step; some frameworks count several at once."""
        self._check_begun()
        if any(passed in self.steps for passed in range(self._now + 1, step + 1)):
            self._keep(step)
        self._now = step

    def _end(self) -> None:
        if not _first_process():
            return
        self._check_begun()
        start = next(iter(self.kept))
        end = max(self._now, start + 1)  # a training that counted no steps is one step
        self._keep(end)
        if self.data is None:
            return
        from linescape import report  # heavy, and not needed while training

        with self._random_state_kept():
            evaluator = self.data if isinstance(self.data, Evaluator) else Evaluator(self.model, self.data)
            ends = (checkpoints.read(self._unchanged(step)).into(evaluator.model) for step in (start, end))
            first, last = (state.to(evaluator.device) for state in ends)
            folder = self.folder / "report"
            self.probe = probe(first, last, evaluator, options=replace(self.options, keep=folder / "points"))
            self.page = report.write_probe(self.probe, folder, f"step {start} to step {end}", self._changed())
            resume.clear(folder / "points")

    def _keep(self, step: int) -> None:
        if _first_process():
            path = self.folder / "checkpoints" / f"step-{step:08d}.safetensors"
            tensors, note = State.from_module(self.model, copy=False).state_dict(), {"step": str(step)}
            checkpoints.write(path, tensors, note)
            self.kept[step] = path
            # Not of the file: another training may write to this folder, too.
            self._digests[step] = hashlib.sha256(checkpoints.encode(tensors, note)).hexdigest()

    def _unchanged(self, step: int) -> Path:
        """The file of a checkpoint.

        Raises:
            StoreError: it is not what was saved, or cannot be read.
        """
        path = self.kept[step]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise atomic.cannot_read(path, error) from error
        if hashlib.sha256(content).hexdigest() != self._digests[step]:
            raise StoreError(
                f"{path} is not what was saved there during the training, so the line would be another. The other "
                "checkpoints are where they were: probe the line between two of them."
            )
        return path

    def _changed(self) -> tuple[str, ...]:
        """A note on what the network saves besides plain tensors, if that has changed: it is not in the checkpoints."""
        now = State.from_module(self.model, copy=False).opaque
        changed = [name for name, value in now.items() if not alike(value, self._opaque.get(name))]
        if not changed:
            return ()
        return (
            f"The training has changed {abbreviate(changed)}, which are no plain tensors (sparse, quantised, or state "
            "of a module): they are not in the checkpoints, and the whole line was measured with one value of them.",
        )

    def _check_begun(self) -> None:
        if not self.kept and _first_process():
            raise RecipeError(
                "The keeper has not saved the start of the training, so there would be no line. Train inside of "
                "`with Keeper(...) as keeper:`, or with its callback."
            )

    def _name_kept(self, error: BaseException) -> None:
        if self.kept:
            steps = ", ".join(map(str, self.kept))
            error.add_note(
                f"linescape saved steps {steps} in {self.folder / 'checkpoints'}; the training did not reach its end."
            )

    def _check_trained(self, trained: nn.Module) -> None:
        trained_parameters = {id(value) for value in trained.parameters()}
        if not all(id(value) in trained_parameters for value in self.model.parameters()):
            raise RecipeError(
                f"The trainer trains a {type(trained).__name__} which the keeper's {type(self.model).__name__} is not "
                "part of, so its checkpoints would not change. Give the keeper the network that is trained."
            )

    def _random_state_kept(self) -> AbstractContextManager[None]:
        devices = {value.device for value in self.model.parameters() if value.device.type == "cuda"}
        return torch.random.fork_rng(list(devices))


def _check_steps(steps: object) -> None:
    """Raise `RecipeError` for what no training reaches, of which nothing would be saved."""
    hint = "Give the number of steps between two checkpoints, or a list of steps."
    check_type(steps, (int, Container), "steps", hint)
    if isinstance(steps, int) and steps < 1:
        raise RecipeError(f"steps={steps} names no step to save. {hint}")
    for step in steps if isinstance(steps, Collection) and not isinstance(steps, range) else ():  # which may be endless
        check_type(step, Integral, "A step", hint)
        if step < 0:
            raise RecipeError(f"The step {step} is none that a training reaches. {hint}")


def _first_process() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _installed(names: list[str], extra: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise RecipeError(f"{' or '.join(names)} is not installed. Run: pip install 'linescape[{extra}]'.")
