"""Reads image archives in the forms in which they are published.

Nothing in a file is executed, nothing is unpacked to disk, and a size written in a header is believed
only as far as there are bytes.
"""

from __future__ import annotations

from linescape.data.archives.cifar import CIFAR10, CIFAR100, Layout, read_cifar
from linescape.data.archives.files import Half
from linescape.data.archives.folders import read_folders
from linescape.data.archives.forms import KNOWN, Form, find
from linescape.data.archives.idx import read_idx, read_mnist
from linescape.data.archives.npz import read_npz
from linescape.data.archives.parquet import read_parquet
from linescape.data.archives.strips import read_strips

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KNOWN",
    "Form",
    "Half",
    "Layout",
    "find",
    "read_cifar",
    "read_folders",
    "read_idx",
    "read_mnist",
    "read_npz",
    "read_parquet",
    "read_strips",
]
