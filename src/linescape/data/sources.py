"""Where the published sets can be had from their authors, with the checksums of their files.

CIFAR and MNIST are published without a licence that allows passing them on, so none is part of this package: users
fetch them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Source(NamedTuple):
    """A published set.

    Attributes:
        url: the address that the files' names follow.
        files: names and checksums, as ``md5:...`` or ``sha256:...``.
        mean: published mean of the training split by channel, pixels from 0 to 1.
    """

    url: str
    files: Mapping[str, str]
    mean: tuple[float, ...]


_CIFAR = "https://www.cs.toronto.edu/~kriz/"  # the checksums are on its page, cifar.html
SOURCES = {
    # Krizhevsky 2009, Learning multiple layers of features from tiny images.
    "cifar10": Source(
        _CIFAR, {"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"}, (0.4914, 0.4822, 0.4465)
    ),
    "cifar100": Source(
        _CIFAR, {"cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85"}, (0.5071, 0.4865, 0.4409)
    ),
    # LeCun, Bottou, Bengio & Haffner 1998. Their own server no longer gives it out; this mirror is torchvision's.
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
        },
        (0.1307,),
    ),
    # Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; MIT.
    "fashion-mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
        (0.2860,),
    ),
}
