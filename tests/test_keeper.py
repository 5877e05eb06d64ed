from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from linescape import checkpoints
from linescape.errors import AlphaError, DataError, LinescapeError, RecipeError, StateError, StoreError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import error
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.keeper import Keeper
from tests.support import optional

INPUTS = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(60) % 3
TEST = {"test": (INPUTS[:20], TARGETS[:20])}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 3))


def steps_of(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> Iterator[dict[str, Tensor]]:
    """A training with dropout and shuffling; yields the weights after each step."""
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=12, shuffle=True)
    done = 0
    while done < count:
        for inputs, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
            yield copied(model)
            if done == count:
                return


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def same(path: Path, tensors: dict[str, Tensor]) -> bool:
    read = checkpoints.read(path)
    return set(read) == set(tensors) and all(torch.equal(read[name], value) for name, value in tensors.items())


def test_start_chosen_steps_and_end_are_kept_to_the_bit_and_probed(tmp_path: Path) -> None:
    model = network()
    weights = [copied(model)]
    with Keeper(model, tmp_path, steps=(2, 5, 99), data=TEST) as keeper:
        for now in steps_of(model, sgd(model), 7):
            weights.append(now)
            keeper.step()
    assert list(keeper.kept) == [0, 2, 5, 7]
    for step, path in keeper.kept.items():
        assert path == tmp_path / "checkpoints" / f"step-{step:08d}.safetensors"
        assert same(path, weights[step])
        assert checkpoints.read(path).metadata == {"step": str(step)}
    assert keeper.probe is not None
    line = Line(State.from_state_dict(model, weights[0]), State.from_state_dict(model, weights[7]))
    expected = scan(line, Evaluator(model, TEST))["test", "cross_entropy"]
    np.testing.assert_array_equal(keeper.probe.curves["whole"]["test", "cross_entropy"].values, expected.values)
    assert keeper.page == tmp_path / "report" / "index.html"
    assert not (tmp_path / "report" / "points").exists()
    assert "step 0 to step 7" in keeper.page.read_text()


def test_the_scan_has_the_options_of_the_keeper(tmp_path: Path) -> None:
    model = network()
    with Keeper(model, tmp_path, data=TEST, options=ScanOptions(alphas=3, batchnorm="end")) as keeper:
        for _ in steps_of(model, sgd(model), 2):
            keeper.step()
    assert keeper.probe is not None
    assert keeper.probe.curves["whole"].alphas.tolist() == [0.0, 0.5, 1.0]
    assert keeper.probe.treatments == ("end",)


def test_a_training_with_a_keeper_ends_in_the_same_bits(tmp_path: Path) -> None:
    def trained(keep: bool) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
        model = network()
        optimizer = sgd(model)
        loader = DataLoader(TensorDataset(*TEST["test"]), batch_size=10)  # which draws from the global random state
        if keep:
            with Keeper(model, tmp_path, steps=2, data={"test": loader}) as keeper:
                for _ in steps_of(model, optimizer, 9):
                    keeper.step()
            assert list(keeper.kept) == [0, 2, 4, 6, 8, 9]
            assert keeper.probe
        else:
            list(steps_of(model, optimizer, 9))
        assert all(module.training for module in model.modules())
        assert not any(module._forward_hooks or module._state_dict_hooks for module in model.modules())
        return copied(model), [value.grad for value in model.parameters() if value.grad is not None], torch.rand(3)

    with_keeper, without = trained(True), trained(False)
    assert all(torch.equal(with_keeper[0][name], value) for name, value in without[0].items())
    assert all(torch.equal(one, other) for one, other in zip(with_keeper[1], without[1], strict=True))
    assert torch.equal(with_keeper[2], without[2])


def test_after_an_exception_what_was_kept_is_named_and_nothing_is_probed(tmp_path: Path) -> None:
    model = network()
    keeper = Keeper(model, tmp_path, steps=1, data=TEST)

    def broken() -> None:
        with keeper:
            for _ in steps_of(model, sgd(model), 2):
                keeper.step()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        broken()
    assert raised.value.__notes__ == [
        f"linescape saved steps 0, 1, 2 in {tmp_path / 'checkpoints'}; the training did not reach its end."
    ]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3
    assert keeper.probe is None
    assert not (tmp_path / "report").exists()


def test_checkpoints_of_another_training_are_never_mixed_with(tmp_path: Path) -> None:
    model = network()
    with Keeper(model, tmp_path) as keeper:
        keeper.step()
    before = {path: path.read_bytes() for path in keeper.kept.values()}
    for value in model.parameters():
        value.data.add_(1)
    with pytest.raises(StoreError, match=r"has checkpoints of an earlier training \(step-0.*overwrite=True"):
        Keeper(model, tmp_path).__enter__()
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before


def test_a_training_that_counts_no_steps_keeps_both_ends(tmp_path: Path) -> None:
    model = network()
    start = copied(model)
    with Keeper(model, tmp_path) as keeper:
        list(steps_of(model, sgd(model), 3))
    assert list(keeper.kept) == [0, 1]
    assert same(keeper.kept[0], start)
    assert same(keeper.kept[1], copied(model))
    assert keeper.probe is None


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own, on importing its compiler
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(nn.DataParallel(model))])
def test_names_are_kept_without_the_prefixes_of_wrappers(tmp_path: Path, wrap: Any) -> None:
    model = network()
    with Keeper(wrap(model), tmp_path, data=TEST) as keeper:
        keeper.step()
    assert same(keeper.kept[1], copied(model))
    assert not any(name.startswith(("module.", "_orig_mod.")) for name in checkpoints.read(keeper.kept[0]))
    assert keeper.probe


def test_an_evaluator_of_ones_own_measures_what_it_measures(tmp_path: Path) -> None:
    model = network()
    with Keeper(model, tmp_path, data=Evaluator(model, TEST, measures=(error,))) as keeper:
        for _ in steps_of(model, sgd(model), 2):
            keeper.step()
    assert keeper.probe is not None
    assert list(keeper.probe.curves["whole"].values) == [("test", "error", "interpolate")]


def test_what_cannot_be_measured_is_said_before_the_training(tmp_path: Path) -> None:
    model = network()
    shuffled = DataLoader(TensorDataset(INPUTS, TARGETS), shuffle=True)
    with pytest.raises(DataError, match="shuffle=True"):
        Keeper(model, tmp_path, data={"test": shuffled}).__enter__()
    with pytest.raises(StateError, match="different tensors"):
        Keeper(model, tmp_path, data=Evaluator(nn.Linear(5, 3), TEST)).__enter__()
    with pytest.raises(RecipeError, match="steps=0"):
        Keeper(model, tmp_path, steps=0)
    assert not (tmp_path / "checkpoints").exists()


def test_inputs_that_the_network_does_not_take_are_said_before_the_training(tmp_path: Path) -> None:
    said = r"cannot be called with the first examples of 'test' \(\(4, 4\) float32"
    keeper = Keeper(network(), tmp_path, data={"test": (INPUTS[:, :4], TARGETS)})
    with pytest.raises(DataError, match=said), keeper:
        pytest.fail("the training began")
    normed = nn.Sequential(nn.BatchNorm1d(5), network())
    for treatment in ("recalibrate", "batch"):
        batches = [(INPUTS[:-1], TARGETS[:-1]), (INPUTS[-1:], TARGETS[-1:])]  # tensors would be cut otherwise
        evaluator = Evaluator(normed, {"train": batches})
        keeper = Keeper(normed, tmp_path, data=evaluator, options=ScanOptions(batchnorm=treatment))
        with pytest.raises(DataError, match="two examples to compute a variance"), keeper:
            pytest.fail("the training began")
    keeper = Keeper(normed, tmp_path, data=TEST, options=ScanOptions(batchnorm="recalibrate"))
    with pytest.raises(DataError, match="Add training data"), keeper:
        pytest.fail("the training began")
    assert not any(tmp_path.iterdir())
    with pytest.raises(DataError, match="Give them a name"):
        Evaluator(network(), DataLoader(TensorDataset(INPUTS, TARGETS)))  # type: ignore[arg-type]


def test_of_several_processes_the_first_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    with Keeper(network(), tmp_path, steps=1, data=TEST) as keeper:
        keeper.step()
    assert not keeper.kept
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=r"linescape\[hf\]"):
        Keeper(network(), tmp_path).trainer()
    with pytest.raises(RecipeError, match=r"linescape\[lightning\]"):
        Keeper(network(), tmp_path).lightning()


# -- in the frameworks of others -----------------------------------------------------------------------------------


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


def test_a_cell_that_runs_again_replaces_what_it_wrote(tmp_path: Path) -> None:
    for steps in (4, 2):
        model = network()
        with Keeper(model, tmp_path, steps=1, data=TEST, overwrite=True) as keeper:
            for _ in steps_of(model, sgd(model), steps):
                keeper.step()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        f"step-{step:08d}.safetensors" for step in range(3)
    ]
    assert "step 0 to step 2" in (tmp_path / "report" / "index.html").read_text()
    with pytest.raises(ZeroDivisionError), Keeper(model, tmp_path, data=TEST, overwrite=True):
        raise ZeroDivisionError
    assert "This report was not finished" in (tmp_path / "report" / "index.html").read_text()


def test_what_a_killed_training_had_begun_to_write_is_no_checkpoint(tmp_path: Path) -> None:
    begun = tmp_path / "checkpoints" / ".step-00000007.safetensors.123-456.partial"
    begun.parent.mkdir()
    begun.write_bytes(b"half")
    model = network()
    with Keeper(model, tmp_path) as keeper:
        keeper.step()
    assert begun.exists()  # perhaps another process still writes it
    with Keeper(model, tmp_path, overwrite=True) as keeper:
        keeper.step()
    assert not begun.exists()


def test_a_folder_that_is_deleted_during_the_training_is_said(tmp_path: Path) -> None:
    model = network()
    keeper = Keeper(model, tmp_path / "run", data=TEST).__enter__()
    keeper.step()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(StoreError, match="step-00000000.safetensors cannot be read"):
        keeper.__exit__(None, None, None)


def test_overwriting_deletes_nothing_that_no_keeper_wrote(tmp_path: Path) -> None:
    model = network()
    with Keeper(model, tmp_path) as keeper:
        keeper.step()
    (tmp_path / "checkpoints" / "mine.pt").write_bytes(b"mine")
    with pytest.raises(StoreError, match="files that no keeper wrote"):
        Keeper(model, tmp_path, overwrite=True).__enter__()
    (tmp_path / "checkpoints" / "mine.pt").unlink()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("mine")
    with pytest.raises(StoreError, match="linescape did not write"):
        Keeper(model, tmp_path, overwrite=True).__enter__()
    bad = Keeper(model, tmp_path, data={"test": (INPUTS[:, :4], TARGETS)}, overwrite=True)
    (tmp_path / "report" / "index.html").unlink()
    with pytest.raises(DataError), bad:
        pytest.fail("the training began")
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


class Recorder(nn.Linear):
    """A layer that counts its calls in training, and saves the count besides its tensors; with a sparse buffer."""

    pairs: Tensor
    mask: Tensor

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.calls = {"count": 0}
        self.register_buffer("pairs", torch.eye(5).to_sparse())
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf]))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls["count"] += 1
        return super().forward(torch.sparse.mm(self.pairs, x.T).T) + 0 * self.mask.exp()

    def get_extra_state(self) -> dict[str, int]:
        return self.calls

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state


@pytest.mark.parametrize("training", [True, False])
def test_what_is_no_plain_tensor_is_not_saved_and_its_change_is_noted(training: bool, tmp_path: Path) -> None:
    model = Recorder().train(training)
    with Keeper(model, tmp_path, data=TEST) as keeper:
        for _ in range(3):
            model(INPUTS)
            with torch.no_grad():
                model.weight.add_(0.1)
            keeper.step()
    assert set(checkpoints.read(keeper.kept[0])) == {"weight", "bias", "mask"}
    assert keeper.probe is not None
    assert keeper.page is not None
    said = "The training has changed _extra_state, which are no plain tensors" in keeper.page.read_text()
    assert said == training
    values = keeper.probe.curves["whole"]["test", "cross_entropy"].mean
    expected = F.cross_entropy(model(TEST["test"][0]), TEST["test"][1])
    assert float(values[-1]) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_networks_that_cannot_be_saved_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="not initialised yet"):
        Keeper(nn.Sequential(nn.LazyLinear(3)), tmp_path / "a").__enter__()
    with pytest.raises(StateError, match="not initialised yet"):
        Keeper(nn.Sequential(nn.LazyLinear(3)), tmp_path / "b", data=TEST).__enter__()


def test_complex_and_narrow_weights_are_kept(tmp_path: Path) -> None:
    class Wide(nn.Module):
        narrow: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(5, 3, dtype=torch.complex64))
            self.register_buffer("narrow", torch.ones(3).to(torch.float8_e5m2))

        def forward(self, x: Tensor) -> Tensor:
            return (x.to(torch.complex64) @ self.w).abs() * self.narrow.float()

    model = Wide()
    start = copied(model)
    with Keeper(model, tmp_path, data=TEST, options=ScanOptions(alphas=3)) as keeper:
        with torch.no_grad():
            model.w.mul_(1j)
        keeper.step()
    assert torch.equal(checkpoints.read(keeper.kept[0])["w"], start["w"])
    assert keeper.probe is not None
    middle = start["w"].to(torch.complex128) * (1 + 1j) / 2
    outputs = (TEST["test"][0].to(torch.complex128) @ middle).abs()
    found = keeper.probe.curves["whole"]["test", "cross_entropy"].mean[1]
    assert float(found) == pytest.approx(float(F.cross_entropy(outputs, TEST["test"][1])), abs=1e-5)


def test_a_checkpoint_that_is_damaged_during_the_training_is_found(tmp_path: Path) -> None:
    def train_while_a_bit_flips() -> None:
        with Keeper(network(), tmp_path, data=TEST) as keeper:
            damaged = bytearray(keeper.kept[0].read_bytes())
            damaged[-3] ^= 4
            keeper.kept[0].write_bytes(damaged)

    with pytest.raises(StoreError, match="is not what was saved"):
        train_while_a_bit_flips()


def test_a_start_that_another_training_replaces_as_it_is_saved_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, other = checkpoints.write, State.from_module(network()).state_dict()

    def and_another(path: Path, tensors: Any, note: Any) -> None:
        write(path, tensors, note)
        if note["step"] == "0":
            write(path, {name: value + 1 for name, value in other.items()}, note)

    monkeypatch.setattr(checkpoints, "write", and_another)
    with pytest.raises(StoreError, match="is not what was saved"), Keeper(network(), tmp_path, data=TEST) as keeper:
        keeper.step()


@pytest.mark.parametrize(
    "steps", ["10", None, 1.5, 1e3, True, 0, -5, ["100"], [1.5], [-1], [True], {"all"}, (i for i in [1])]
)
def test_steps_that_no_training_reaches_are_refused(steps: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Give the number of steps between two checkpoints, or a list of steps"):
        Keeper(nn.Linear(2, 2), tmp_path / "run", steps=steps)


@pytest.mark.parametrize(
    "steps", [3, (), (2, 4), [2], {2, 3}, range(1, 100, 2), range(0, sys.maxsize, 10), np.arange(3)]
)
def test_steps_come_in_many_forms(steps: Any, tmp_path: Path) -> None:
    Keeper(nn.Linear(2, 2), tmp_path / "run", steps=steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "model is a NoneType"),
        ({"model": {"weight": 1}}, "model is a dict"),
        ({"folder": None}, "folder is a NoneType"),
        ({"folder": 3}, "folder is a int"),
        ({"folder": "n" * 300}, "File name too long"),
        ({"options": 50}, "options is a int"),
        ({"options": None}, "options is a NoneType"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LinescapeError, match=message):
        Keeper(**{"model": nn.Linear(2, 2), "folder": tmp_path / "run", **arguments})


def test_a_training_whose_start_was_not_saved_is_refused(tmp_path: Path) -> None:
    for use in (Keeper.step, lambda keeper: keeper.__exit__(None, None, None)):
        with pytest.raises(RecipeError, match="has not saved the start"):
            use(Keeper(nn.Linear(2, 2), tmp_path / "run", steps=1))
    assert not (tmp_path / "run").exists()


def test_a_line_without_a_position_between_is_refused_before_the_training(tmp_path: Path) -> None:
    for alphas in (2, [-1, 0, 1, 2]):
        with pytest.raises(AlphaError, match="no position between the two ends"):
            Keeper(nn.Linear(2, 2), tmp_path / "run", options=ScanOptions(alphas=alphas))
    assert not (tmp_path / "run").exists()
