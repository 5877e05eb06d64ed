"""Keeper: beside a training of one's own, keeps its start, chosen steps and its end, and probes when it has ended.

    with Keeper(model, "run", steps=(100, 1000), data={"test": (inputs, targets)}) as keeper:
        for batch in batches:
            ...  # a training step
            keeper.step()
    keeper.probe.heights  # and run/report/index.html

In Lightning and in Hugging Face's Trainer the callbacks `Keeper.lightning` and `Keeper.trainer` do the same. The
training's own numbers do not change: not its weights, mode, gradients or random state.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from linescape import checkpoints
from linescape.errors import RecipeError, StoreError, abbreviate
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.state import State
from linescape.interpolation import resume
from linescape.interpolation.probing import Probe, probe


class Keeper:
    """Keeps checkpoints of a training as safetensors in ``FOLDER/checkpoints``, named by their step.

    The start is kept on entering, the end on leaving without an exception. After an exception what was kept stays, is
    named in a note of the exception, and nothing is probed. Where several processes train together, the first one
    writes; it must hold all weights (not so with FSDP, or DeepSpeed's ZeRO-3).

    Args:
        model: the network that is trained. Names are kept without the prefixes of `torch.compile` and data parallelism.
        folder: of this training alone.
        steps: which steps to keep besides, such as ``(100, 1000)``; a number stands for all its multiples.
        data: what to probe the line from start to end on, as for `Evaluator`, or an `Evaluator` of the network, for
            `measures` and `forward` of one's own. Without it nothing is probed.

    Attributes:
        kept: step -> file, in the order of writing.
        probe: the line from start to end, once the training has ended.
        page: the report of it, ``FOLDER/report/index.html``.

    Raises:
        RecipeError: a number of steps below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str | Path,
        steps: int | Container[int] = (),
        data: Mapping[str, Any] | Evaluator | None = None,
    ) -> None:
        if isinstance(steps, int) and steps < 1:
            raise RecipeError(f"steps={steps} names no step to keep. Give the distance of two, or a list of steps.")
        self.model = _inner(model)
        self.folder = Path(folder)
        self.steps = range(steps, sys.maxsize, steps) if isinstance(steps, int) else steps
        self.data = data
        self.kept: dict[int, Path] = {}
        self.probe: Probe | None = None
        self.page: Path | None = None
        self._now = 0

    def __enter__(self) -> Self:
        """Keep the start.

        Raises:
            StoreError: the folder holds checkpoints of another training, or cannot be written.
            DataError, StateError: the data cannot be probed on, or the evaluator is another network's.
        """
        self._begin(0)
        return self

    def step(self) -> None:
        """Say that a step has been done.

        Raises:
            StoreError: the step is to be kept and cannot be written.
        """
        self._reach(self._now + 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep the end and probe, or add to an exception what was kept.

        Raises:
            StoreError: something cannot be written.
            DataError, MeasureError, StateError, EndsError: as `probe`; all checkpoints are kept by then.
        """
        if error is None:
            self._end()
        else:
            self._name_kept(error)

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
                keeper._check_trained(module)
                keeper._begin(trainer.global_step)

            def on_train_batch_end(self, trainer: Any, *_: object) -> None:
                keeper._reach(trainer.global_step)

            def on_train_end(self, *_: object) -> None:
                keeper._end()

            def on_exception(self, _trainer: Any, _module: Any, error: BaseException) -> None:
                keeper._name_kept(error)

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
                keeper._check_trained(model)
                keeper._begin(state.global_step)

            def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
                keeper._reach(state.global_step)

            def on_train_end(self, *_: Any, **__: Any) -> None:
                keeper._end()

        return Kept()

    def _begin(self, step: int) -> None:
        if not _first_process():
            return
        place = self.folder / "checkpoints"
        found = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
        if found:
            raise StoreError(
                f"{place} holds checkpoints of another training ({abbreviate(found, 3)}), "
                "which would be mixed with this one's. Name another folder, or delete that one."
            )
        # What cannot be measured is said before hours of training and not after them.
        if self.data is not None:
            with self._random_state_kept():
                if isinstance(self.data, Evaluator):
                    State.from_module(self.model, copy=False).check_fits(self.data.model)
                    self.data.count_operations()
                else:
                    Evaluator(self.model, self.data).count_operations()
        self._now = step
        self._keep(step)

    def _reach(self, step: int) -> None:
        """The training has done this step; some frameworks count several at once."""
        if any(passed in self.steps for passed in range(self._now + 1, step + 1)):
            self._keep(step)
        self._now = step

    def _end(self) -> None:
        if not _first_process():
            return
        start = next(iter(self.kept))
        end = max(self._now, start + 1)  # a training that counted no steps is one step
        self._keep(end)
        if self.data is None:
            return
        from linescape import report  # heavy, and not needed while training

        with self._random_state_kept():
            evaluator = self.data if isinstance(self.data, Evaluator) else Evaluator(self.model, self.data)
            ends = (checkpoints.read(self.kept[step]).into(evaluator.model) for step in (start, end))
            first, last = (state.to(evaluator.device) for state in ends)
            place = self.folder / "report"
            self.probe = probe(first, last, evaluator, keep=place / "points")
            self.page = report.write_probe(self.probe, place, f"step {start} to step {end}")
            resume.clear(place / "points")

    def _keep(self, step: int) -> None:
        if _first_process():
            path = self.folder / "checkpoints" / f"step-{step:08d}.safetensors"
            checkpoints.write(path, self.model.state_dict(), {"step": str(step)})
            self.kept[step] = path

    def _name_kept(self, error: BaseException) -> None:
        if self.kept:
            steps = ", ".join(map(str, self.kept))
            error.add_note(f"linescape kept steps {steps} in {self.folder / 'checkpoints'}; the end was not reached.")

    def _check_trained(self, trained: nn.Module) -> None:
        own = {id(value) for value in trained.parameters()}
        if not all(id(value) in own for value in self.model.parameters()):
            raise RecipeError(
                f"The trainer trains a {type(trained).__name__} which the keeper's {type(self.model).__name__} is no "
                "part of, so its checkpoints would not change. Give the keeper the network that is trained."
            )

    def _random_state_kept(self) -> AbstractContextManager[None]:
        devices = {value.device for value in self.model.parameters() if value.device.type == "cuda"}
        return torch.random.fork_rng(list(devices))


def _inner(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of data parallelism and `torch.compile`."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model


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
