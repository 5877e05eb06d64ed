"""Checkpoints: told by what is in them, not by their names, and never run.

==========================  ========================================================================================
safetensors                 all tensors of the file
``torch.save``, any age     a state dict, or one of `torch_file.CONTAINERS` that holds it (training scripts, Lightning,
                            timm, torchvision, DeepSpeed), or with ``ema=True`` the moving average beside it
Hugging Face folder         safetensors or bin, in one file or in parts
distributed checkpoint      a folder of ``torch.distributed.checkpoint``; the network's part of it
==========================  ========================================================================================

Tensors are mapped from the file and read when they are used. No file's code is run, nothing that it names is imported,
and what a file can cost is bounded: its numbers take no memory that its own bytes do not fill, and what describes them
about a hundred times its own bytes, 2 GB at most. `write_like` writes other tensors in the form of a checkpoint, one
after the other.
"""

from linescape.checkpoints.formats.contents import Contents, Form
from linescape.checkpoints.formats.reading import read
from linescape.checkpoints.formats.streaming import write_like
from linescape.checkpoints.formats.writing import write
from linescape.tensor_file import encode

__all__ = ["Contents", "Form", "encode", "read", "write", "write_like"]
