"""One of two processes that train a little under FSDP and save what they have: arguments RANK and FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def trained(module: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    module(torch.arange(20.0).reshape(4, 5) / 20).square().mean().backward()
    optimizer.step()
    return optimizer


def main(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}.meeting", rank=rank, world_size=2)
    module = network()
    fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    optimizer = trained(module)
    weights, optimizer_state = get_state_dict(module, optimizer)
    save({"model": weights, "optim": optimizer_state}, checkpoint_id=folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
