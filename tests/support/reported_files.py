"""Checkpoint files as people save them."""

# mypy: disable-error-code="misc, no-untyped-call"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linescape import checkpoints
from tests.support.situations import Answer, Case, command, pair, situation


@situation
def containers(folder: Path) -> Iterator[Case]:
    start, end = pair(lambda: nn.Linear(4, 3))
    optimizer = torch.optim.Adam(start.parameters())
    start(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    forms: dict[str, Any] = {
        "params": lambda net: {"params": net.state_dict()},
        "weights": lambda net: {"weights": net.state_dict()},
        "model_state": lambda net: {"model_state": net.state_dict(), "epoch": 1},
        "generator and loose tensors": lambda net: {
            "generator": net.state_dict(), "step": torch.tensor(7.0), "best": torch.tensor(0.5)
        },
        "state.model": lambda net: {"state": {"model": net.state_dict()}, "rng": []},
        "checkpoint.model_state_dict": lambda net: {"checkpoint": {"model_state_dict": net.state_dict()}},
        "net and loss": lambda net: {"net": net.state_dict(), "loss": torch.tensor(1.0)},
        "arrays": lambda net: {name: value.detach().numpy() for name, value in net.state_dict().items()},
        "the network": lambda net: net,
        "the network in a dictionary": lambda net: {"model": net, "epoch": 1},
    }  # fmt: skip
    for name, form in forms.items():
        file = folder / f"{name}.pt"
        torch.save(form(start), file)

        def weight(file: Path = file) -> Answer:
            contents = checkpoints.read(file)
            return contents["weight"].detach().flatten().numpy(), []

        yield Case(name, weight, None if name == "arrays" else start.weight.detach().flatten().numpy())
    unclear: dict[str, Any] = {
        "student and teacher": lambda net: {"student": net.state_dict(), "teacher": net.state_dict()},
        "only an optimizer": lambda _: optimizer.state_dict(),
    }
    for name, form in unclear.items():
        files = [folder / f"{name}-{i}.pt" for i in range(2)]
        for file, network in zip(files, (start, end), strict=True):
            torch.save(form(network), file)
        yield Case(name, lambda files=files: command("diff", *files), None)
    files = [folder / f"student and teacher-{i}.pt" for i in range(2)]
    yield Case("student, by --key", lambda: command("diff", *files, "--key", "student"), [0.0])
    torch.jit.script(start).save(str(folder / "script.pt"))
    yield Case("TorchScript", lambda: command("diff", folder / "script.pt", folder / "script.pt"), None)
