"""Before two networks are merged: the line, alignment, and a soup. `python examples/before_merging.py`."""

import copy

import torch
from torch import nn

import linescape as ls


def train(model: nn.Module, epochs: int, inputs: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Train a network in place by Adam; returns it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for batch in torch.cat([torch.randperm(len(inputs)) for _ in range(epochs)]).split(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    return model


def main(epochs: int = 3, images: int = 10000) -> dict[str, float]:
    """Height of the barrier of the test loss, in nats, for three ways to connect two networks."""
    data = {name: (x[:images], y[:images]) for name, (x, y) in ls.data.load("fashion-mini").tensors().items()}
    torch.manual_seed(0)

    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))

    base = train(network(), epochs, *data["train"])
    other = train(network(), epochs, *data["train"])  # from another start
    tuned = train(copy.deepcopy(base), 1, *data["train"])  # from the same

    evaluator, options = ls.Evaluator(base, data), ls.ScanOptions(alphas=11)
    aligned = ls.align(base, other, evaluator, by="weights").state
    lines = {
        "trained apart": ls.Line(base, other),
        "trained apart, units aligned": ls.Line(base, aligned),
        "one fine-tuned from the other": ls.Line(base, tuned),
    }
    heights = {}
    for name, line in lines.items():
        loss = ls.scan(line, evaluator, options)["test", "cross_entropy"]
        heights[name] = ls.shape.hump(loss.alphas, loss.mean)
        print(f"{name}: barrier {heights[name]:.3f} nats, halfway {loss.mean[5]:.3f}")
    return heights


if __name__ == "__main__":
    main()
