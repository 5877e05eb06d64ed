"""A keeper in the trainings of Lightning and Hugging Face."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from linescape.errors import RecipeError
from linescape.keeper import Keeper
from tests.support import optional
from tests.support.keeping import INPUTS, TARGETS, TEST, copied, network, same, sgd, steps_of


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=r"linescape\[hf\]"):
        Keeper(network(), tmp_path).trainer()
    with pytest.raises(RecipeError, match=r"linescape\[lightning\]"):
        Keeper(network(), tmp_path).lightning()


def fit(package: Any, inner: nn.Module, callback: Any, fail_at: int | None = None) -> None:
    """A training of six steps of two batches each, in Lightning."""

    class Lit(package.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            if self.global_step == fail_at:
                raise ZeroDivisionError
            return F.cross_entropy(self.inner(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = package.Trainer(
        max_epochs=4,
        accelerator="cpu",
        accumulate_grad_batches=2,
        enable_model_summary=False,
        callbacks=[callback] if callback else [],
        **quiet,
    )
    trainer.fit(Lit(), DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=20, shuffle=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["lightning", "pytorch_lightning"])
def test_in_lightning(tmp_path: Path, name: str) -> None:
    optional.load("lightning")
    package = optional.load(name)
    package = package.pytorch if name == "lightning" else package
    alone, model = network(), network()
    start = copied(model)
    torch.manual_seed(1)
    fit(package, alone, None)
    keeper = Keeper(model, tmp_path, steps=(3, 4), data=TEST)
    torch.manual_seed(1)
    fit(package, model, keeper.lightning())
    assert list(keeper.kept) == [0, 3, 4, 8]
    assert same(keeper.kept[0], start)
    assert same(keeper.kept[8], copied(model))
    assert all(torch.equal(value, copied(model)[tensor]) for tensor, value in copied(alone).items())
    assert keeper.probe
    assert keeper.page
    assert keeper.page.exists()


@pytest.mark.filterwarnings("ignore")
def test_in_lightning_an_exception_passes(tmp_path: Path) -> None:
    package = optional.load("lightning").pytorch
    model = network()
    keeper = Keeper(model, tmp_path, steps=1, data=TEST)
    with pytest.raises(ZeroDivisionError) as raised:
        fit(package, model, keeper.lightning(), fail_at=2)
    assert "linescape saved steps 0, 1, 2" in raised.value.__notes__[0]
    assert keeper.probe is None
    with pytest.raises(RecipeError, match="is not part of"):
        fit(package, network(), Keeper(model, tmp_path / "other").lightning())


@pytest.mark.filterwarnings("ignore")
def test_the_callback_of_hugging_face_follows_its_steps(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    model = network()
    weights = [copied(model)]
    keeper = Keeper(model, tmp_path / "run", steps=(2,), data=TEST)
    handler = transformers.trainer_callback.CallbackHandler([keeper.trainer()], model, None, None, None)
    state, control = transformers.TrainerState(), transformers.TrainerControl()
    handler.on_train_begin(None, state, control)
    for now in steps_of(model, sgd(model), 3):
        weights.append(now)
        state.global_step += 1
        handler.on_step_end(None, state, control)
    handler.on_train_end(None, state, control)
    assert list(keeper.kept) == [0, 2, 3]
    assert all(same(path, weights[step]) for step, path in keeper.kept.items())
    assert keeper.probe
    other = transformers.trainer_callback.CallbackHandler([keeper.trainer()], network(), None, None, None)
    with pytest.raises(RecipeError, match="is not part of"):
        other.on_train_begin(None, state, control)


@pytest.mark.filterwarnings("ignore")
def test_in_the_trainer_of_hugging_face(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    optional.load("accelerate")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
    )
    words = torch.randint(0, 30, (24, 6), generator=torch.Generator().manual_seed(0))
    examples = [{"input_ids": row, "labels": row[0] % 3} for row in words]
    test = [{"input_ids": words[:12], "labels": words[:12, 0] % 3}]

    def trained(keep: bool, inside: bool = False) -> tuple[Any, dict[str, Tensor], Keeper]:
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(config)
        start = copied(model)
        keeper = Keeper(model, tmp_path / "run", steps=2, data={"test": test}, overwrite=True)
        arguments = transformers.TrainingArguments(
            str(tmp_path / "hf"),
            max_steps=5,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        callbacks = [keeper.trainer()] if keep else []
        with keeper if inside else nullcontext():
            transformers.Trainer(model, arguments, train_dataset=examples, callbacks=callbacks).train()
        return model, start, keeper

    for inside in (False, True):
        model, start, keeper = trained(True, inside)
        assert list(keeper.kept) == [0, 2, 4, 5]
        assert same(keeper.kept[0], start)
        assert same(keeper.kept[5], copied(model))
        assert not same(keeper.kept[4], copied(model))
        assert keeper.probe
    alone, _, _ = trained(False)
    assert all(torch.equal(value, copied(model)[name]) for name, value in copied(alone).items())


@pytest.mark.filterwarnings("ignore")
def test_in_lightning_inside_with(tmp_path: Path) -> None:
    package = optional.load("lightning").pytorch
    model = network()
    start = copied(model)
    with Keeper(model, tmp_path / "run", steps=(3, 4), data=TEST) as keeper:
        fit(package, model, keeper.lightning())
        assert keeper.probe is None  # which is made on leaving
    assert list(keeper.kept) == [0, 3, 4, 8]
    assert same(keeper.kept[0], start)
    assert same(keeper.kept[8], copied(model))
    assert keeper.probe
    keeper = Keeper(model, tmp_path / "other", data=TEST)
    with pytest.raises(ZeroDivisionError) as raised, keeper:
        fit(package, model, keeper.lightning(), fail_at=1)
    assert len(raised.value.__notes__) == 1


class Trainers:
    """Trainings as Hugging Face's Trainer calls its callbacks, without the packages: by its protocol."""

    def __init__(self, model: nn.Module, callback: Any) -> None:
        self.model, self.callback = model, callback

    def train(self, steps: int, first: int = 0) -> None:
        """From a step that was reached before, if `first` is not 0: then weights of a file are read first."""
        state = SimpleNamespace(global_step=first)
        if first:
            with torch.no_grad():
                for value in self.model.parameters():
                    value.add_(first)
        self.callback.on_train_begin(None, state, None, model=self.model)
        for _ in steps_of(self.model, sgd(self.model), steps):
            state.global_step += 1
            self.callback.on_step_end(None, state, None, model=self.model)
        self.callback.on_train_end(None, state, None, model=self.model)


@pytest.fixture
def no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(TrainerCallback=object))


@pytest.mark.usefixtures("no_transformers")
def test_trainings_that_follow_one_another_inside_with_are_one(tmp_path: Path) -> None:
    model = network()
    start = copied(model)
    with Keeper(model, tmp_path, steps=(2, 5), data=TEST) as keeper:
        trainers = Trainers(model, keeper.trainer())
        trainers.train(3)
        between = copied(model)
        trainers.train(4)
    assert list(keeper.kept) == [0, 2, 5, 7]
    assert same(keeper.kept[0], start)
    assert not same(keeper.kept[5], between)
    assert same(keeper.kept[7], copied(model))
    assert "step 0 to step 7" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.usefixtures("no_transformers")
@pytest.mark.parametrize("inside", [True, False])
def test_a_training_that_continues_starts_where_it_continues(tmp_path: Path, inside: bool) -> None:
    model = network()
    keeper = Keeper(model, tmp_path, steps=(12,), data=TEST)
    expected = {name: value + 10 if "running" not in name else value for name, value in copied(model).items()}
    with keeper if inside else nullcontext():
        Trainers(model, keeper.trainer()).train(3, first=10)
    assert list(keeper.kept) == [10, 12, 13]
    assert same(keeper.kept[10], {**expected, "1.num_batches_tracked": torch.tensor(0)})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        f"step-{step:08d}.safetensors" for step in (10, 12, 13)
    ]
