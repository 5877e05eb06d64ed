"""Mixup: training on convex combinations of pairs of examples and their labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Mixed(NamedTuple):
    """A batch of mixtures: share * example + (1 - share) * partner.

    Attributes:
        inputs: ``(batch, ...)``.
        targets: labels of the examples ``(batch,)``.
        partners: labels of the partners ``(batch,)``.
        share: the examples' share, in [0, 1]; 1 where nothing is mixed.
    """

    inputs: Tensor
    targets: Tensor
    partners: Tensor
    share: float

    @property
    def majority_label(self) -> Tensor:
        """The label of the larger share ``(batch,)``."""
        return self.targets if self.share >= 0.5 else self.partners

    def loss(self, outputs: Tensor) -> Tensor:
        """Mean cross entropy of logits ``(batch, classes)`` in nats, the two labels weighted by their shares."""
        loss = F.cross_entropy(outputs, self.targets)
        if self.share == 1:
            return loss
        return self.share * loss + (1 - self.share) * F.cross_entropy(outputs, self.partners)


def mix(inputs: Tensor, targets: Tensor, strength: float, seed: int) -> Mixed:
    """Mix each example of a batch with another, chosen by a permutation; one share per batch, as in the source.

    Source: Zhang et al. 2018, "mixup: Beyond empirical risk minimization", arXiv 1710.09412.

    Args:
        inputs: ``(batch, ...)``, floating.
        targets: labels ``(batch,)``.
        strength: the share is drawn from Beta(strength, strength); 0 mixes nothing.
        seed: of the share and the permutation.
    """
    if not strength:
        return Mixed(inputs, targets, targets, 1.0)
    draw = np.random.default_rng(seed)
    share = float(draw.beta(strength, strength))
    order = torch.from_numpy(draw.permutation(len(inputs))).to(inputs.device)
    return Mixed(torch.lerp(inputs[order], inputs, share), targets, targets[order], share)
