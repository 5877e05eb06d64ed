"""During a training of the user's, a keeper saves what it should, to the bit, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from linescape import checkpoints
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import error
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.keeper import Keeper
from tests.support.keeping import INPUTS, TEST, copied, network, same, sgd, steps_of


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
@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda model: torch.compile(nn.DataParallel(model)), torch.optim.swa_utils.AveragedModel]
)
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


def test_of_several_processes_the_first_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    with Keeper(network(), tmp_path, steps=1, data=TEST) as keeper:
        keeper.step()
    assert not keeper.kept
    assert not list(tmp_path.iterdir())


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
