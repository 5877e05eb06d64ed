"""`average` of several checkpoints, and chosen on data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from linescape import checkpoints
from linescape.checkpoints import soups
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.state import State
from linescape.geometry.tensors import mean
from tests.support.command_line import OF_OWN, OWN, Line


def further(tmp_path: Path, count: int) -> list[str]:
    names = []
    for seed in range(count):
        torch.manual_seed(100 + seed)
        network = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        torch.save(network.state_dict(), tmp_path / f"more{seed}.pt")
        names.append(f"more{seed}.pt")
    return names


def own() -> tuple[nn.Module, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    scope: dict[str, object] = {}
    exec(OWN, scope)
    return scope["network"](), scope["data"]()  # type: ignore[operator]


def test_the_mean_of_several_is_written_like_the_last(line: Line, pair: list[str], tmp_path: Path) -> None:
    files = [*pair, *further(tmp_path, 1)]
    code, out, err = line("average", *files, "-o", "soup.pt")
    assert code == 0, err
    assert out.strip() == "soup.pt"
    assert "--model and --data recompute them" in err
    written, read = torch.load("soup.pt", weights_only=True), [checkpoints.read(file) for file in files]
    for name, value in written.items():
        assert torch.equal(value, mean([contents[name] for contents in read]))
    code, _, err = line("average", *files, "-o", "own.pt", *OF_OWN)
    assert code == 0, err
    assert "were recomputed" in err
    settled = torch.load("own.pt", weights_only=True)
    assert torch.equal(settled["0.weight"], written["0.weight"])
    assert not torch.equal(settled["1.running_var"], written["1.running_var"])


def test_a_greedy_soup_is_no_worse_than_its_best_member(line: Line, pair: list[str], tmp_path: Path) -> None:
    files = [*pair, *further(tmp_path, 3)]
    code, _, err = line("average", *files, "-o", "soup.pt", "--greedy", "--on", "train", *OF_OWN)
    assert code == 0, err
    assert err.count("alone") == 5
    assert "Chosen on the data 'train'" in err
    network, data = own()
    evaluator = Evaluator(network, data)
    values = {}
    for file in (*files, "soup.pt"):
        state = checkpoints.read(file).into(network)
        values[file] = evaluator(state)["train", "error"].mean(dtype=float)
    assert values["soup.pt"] <= min(values.values())


def test_a_greedy_soup_is_not_written_if_a_member_changed_meanwhile(
    line: Line, pair: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was left out, as it was left out for what it was."""
    files = [*pair, *further(tmp_path, 1)]
    choose = soups.greedy

    def meanwhile(*arguments: Any) -> soups.Soup:
        soup = choose(*arguments)
        out = next(file for file in files if str(file) not in soup.members)
        with Path(out).open("r+b") as file:
            file.write(b"x")
        return soup

    monkeypatch.setattr(soups, "greedy", meanwhile)
    code, _, err = line("average", *files, "-o", "soup.pt", "--greedy", "--on", "train", *OF_OWN)
    assert (code, "was written to while it was read" in err) == (2, True)
    assert not Path("soup.pt").exists()


@pytest.mark.parametrize("settings", [(), ("--on", "train", "--by", "error", "--alphas", "5")])
def test_the_lowest_point_of_the_line_is_written(
    line: Line, pair: list[str], tmp_path: Path, settings: tuple[str, ...]
) -> None:
    code, _, err = line("average", *pair, "-o", "best.safetensors", "--best", *settings, *OF_OWN)
    assert code == 0, err
    on, by = ("train", "error") if settings else ("test", "cross_entropy")
    told = next(text for text in err.splitlines() if text.startswith("lowest "))
    alpha = float(told.split("alpha = ")[1].split(",")[0])
    network, data = own()
    first, last = (checkpoints.read(file).into(network) for file in pair)
    written = checkpoints.read("best.safetensors").into(network)
    torch.testing.assert_close(written["0.weight"], torch.lerp(first["0.weight"], last["0.weight"], alpha))
    reached = Evaluator(network, data)(State.from_state_dict(network, written.state_dict()))
    words, unit = ("training error", "%") if settings else ("test loss", "nats")
    assert told.startswith(f"lowest {words}: {reached[on, by].mean(dtype=float):.4g} {unit} at alpha")


def test_requests_that_contradict_each_other_are_refused(line: Line, pair: list[str], tmp_path: Path) -> None:
    third = further(tmp_path, 1)
    for words, message in (
        ((*pair, *third, "--best"), "3 were named"),
        ((*pair, "--best", "--greedy"), "without --greedy"),
        ((*pair, *third, "--alpha", "0.3"), "Omit it"),
        ((*pair, "--on", "test"), "Add one of these"),
        ((*pair, "--best", "--on", "tests", *OF_OWN), "Did you mean 'test'"),
        ((*pair, pair[0], "--greedy", *OF_OWN), "named twice"),
    ):
        code, _, err = line("average", *words, "-o", "x")
        assert (code, message in err) == (2, True), err
        assert not Path("x").exists()
