"""A training in plain PyTorch, and the line from its start to its end. `python examples/plain_pytorch.py`."""

import torch
from torch import nn

import linescape as ls


def main(epochs: int = 3, images: int = 10000, folder: str = "run") -> ls.Probe:
    """Train a small network on the embedded images; its checkpoints and page go to `folder`."""
    data = {name: (x[:images], y[:images]) for name, (x, y) in ls.data.load("fashion-mini").tensors().items()}
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs, labels = data["train"]
    options = ls.ScanOptions(alphas=21)
    with ls.Keeper(model, folder, steps=100, data=data, options=options, overwrite=True) as keeper:
        for _ in range(epochs):
            for batch in torch.randperm(len(inputs)).split(100):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
                optimizer.step()
                keeper.step()
    assert keeper.probe is not None
    print(keeper.probe.summary())
    print(f"The page: {keeper.page}")
    return keeper.probe


if __name__ == "__main__":
    main()
