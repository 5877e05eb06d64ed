"""Two checkpoints that Lightning wrote, and the line between them. `python examples/lightning_checkpoints.py`."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import linescape as ls


class Classifier(lightning.LightningModule):
    """A small network for the embedded images."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The loss of a batch."""
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(epochs: int = 3, images: int = 10000, folder: str = "lightning") -> ls.Probe:
    """Train with two seeds, and measure the line between the two checkpoints in `folder`."""
    data = {name: (x[:images], y[:images]) for name, (x, y) in ls.data.load("fashion-mini").tensors().items()}
    for seed in (0, 1):
        lightning.seed_everything(seed)
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.fit(Classifier(), DataLoader(TensorDataset(*data["train"]), batch_size=100, shuffle=True))
        trainer.save_checkpoint(f"{folder}/seed-{seed}.ckpt")
    files = (f"{folder}/seed-0.ckpt", f"{folder}/seed-1.ckpt")
    probe = ls.compare(*files, data["test"], model=Classifier().network, options=ls.ScanOptions(alphas=21))
    print(probe.summary().headline)
    return probe


if __name__ == "__main__":
    main()
