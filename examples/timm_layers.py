"""A network of timm, and which of its blocks its training needs most. `python examples/timm_layers.py`."""

import copy

import timm
import torch
from torch import nn

import linescape as ls


def train(model: nn.Module, epochs: int, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Train a network in place by Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for batch in torch.cat([torch.randperm(len(inputs)) for _ in range(epochs)]).split(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()


def main(epochs: int = 3, images: int = 5000) -> ls.Probe:
    """The line from the start of a training to its end, and one for each block with the others held at the end."""
    data = {name: (x[:images], y[:images]) for name, (x, y) in ls.data.load("fashion-mini").tensors().items()}
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    start = copy.deepcopy(model)
    train(model, epochs, *data["train"])
    probe = ls.compare(start, model, data["test"], layers=True, options=ls.ScanOptions(alphas=11))
    first = probe.summary().shown_blocks[0]
    print(f"Set back to its start, the block {first.block} costs most: {first.lost.value:.2f} nats of the test loss.")
    return probe


if __name__ == "__main__":
    main()
