"""Where a store's files lie: a folder of this machine, or one behind an address that fsspec reaches."""

from __future__ import annotations

import os
from pathlib import Path

from linescape.studies.places.local import LocalFolder
from linescape.studies.places.place import Place, Signature

__all__ = ["Place", "Signature", "opened"]


def opened(root: str | os.PathLike[str]) -> Place:
    """The place with a name: a path, or an address such as ``s3://bucket/folder``.

    Raises:
        StoreError: it is a file, cannot be reached, or needs a package that is not installed.
    """
    scheme, separator, rest = str(root).partition("://")
    if not separator or isinstance(root, Path):
        return LocalFolder(Path(root))
    if scheme in ("file", "local"):
        return LocalFolder(Path(rest))
    from linescape.studies.places.remote import RemoteFolder  # fsspec is imported where it is used

    return RemoteFolder(str(root))
