"""Formats of checkpoints: recognised by content, not by name, and read without running anything in them.

==========================  ========================================================================================
safetensors                 all tensors of the file
``torch.save``, any age     a state dict, or one under other keys (see `containers`: training scripts, Lightning, timm,
                            torchvision, DeepSpeed), or with ``ema=True`` the moving average in the same file; a whole
                            network that was pickled, as far as it is tensors
Hugging Face folder         safetensors or bin, in one file or in parts
distributed checkpoint      a folder of ``torch.distributed.checkpoint``; the network's part of it
==========================  ========================================================================================

Tensors are mapped from the file and read when they are used. No code in a file is run and nothing that it names is
imported. What a file can cost is bounded: tensors take no more memory than their bytes in the file, and their
descriptions about a hundred times theirs, 2 GB at most. `write_like` writes other tensors in the format of a
checkpoint, one after the other.
"""

from linescape.checkpoints.formats.contents import Contents, FileFormat
from linescape.checkpoints.formats.reading import read
from linescape.checkpoints.formats.streaming import check_new, write_like
from linescape.checkpoints.formats.writing import write
from linescape.tensor_file import encode

__all__ = ["Contents", "FileFormat", "check_new", "encode", "read", "write", "write_like"]
