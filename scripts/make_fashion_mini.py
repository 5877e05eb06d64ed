"""Makes the embedded data set fashion-mini from the whole of Fashion-MNIST.

    python scripts/make_fashion_mini.py /usr/share/datasets/fashion-mnist

1,000 training images of each class from the 60,000 and 200 test images of each class from the 10,000, drawn and
shuffled with a fixed seed. The files depend on nothing else; another build of zlib may compress the same content
to other bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linescape.data.archives.idx import read_mnist

TARGET = Path(__file__).parents[1] / "src" / "linescape" / "data" / "fashion_mini"
PER_CLASS = {"train": 1000, "t10k": 200}
SHA256 = {
    "t10k-images-idx3-ubyte.gz": "29c83b0d585eea37193286005811acf143f3f278285b46b2b1e34e475d462ef1",
    "t10k-labels-idx1-ubyte.gz": "4052a29388f4bcb19681dcfd1670e0f9fb1783f95f01421f2e45a90d75356627",
    "train-images-idx3-ubyte.gz": "cee18bf35e032ac8fc64d0f3b0d4128e04e40bd1ffa6b92ecbcb8eaf7849a8be",
    "train-labels-idx1-ubyte.gz": "3ee5885779d1dd75f52a3b45a63c23fd6e6de008252a25f3e0a08f9d6b1fceca",
}


def main(source: Path) -> None:
    """Write the four files, and compare them with those that are in the repository."""
    random = np.random.default_rng(20170825)
    for part, (images, labels) in zip(PER_CLASS, read_mnist(source), strict=True):
        chosen = np.concatenate(
            [random.choice(np.flatnonzero(labels == label), PER_CLASS[part], replace=False) for label in range(10)]
        )
        chosen = random.permutation(chosen)
        write_idx(TARGET / f"{part}-images-idx3-ubyte.gz", images[chosen, 0])
        write_idx(TARGET / f"{part}-labels-idx1-ubyte.gz", labels[chosen].astype(np.uint8))
    for name, expected in SHA256.items():
        found = hashlib.sha256((TARGET / name).read_bytes()).hexdigest()
        print(f"{found}  {name}  {'as recorded' if found == expected else 'NOT as recorded'}")


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """Write an IDX file, compressed, without a time or a name in its header."""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
    ):
        packed.write(header + np.ascontiguousarray(array).tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER-WITH-THE-FOUR-IDX-FILES")
    main(Path(sys.argv[1]))
