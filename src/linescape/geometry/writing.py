"""Positions of a path written into the tensors of a network: on a GPU many tensors by one operation.

There each operation takes as long to launch as small tensors take to compute. On the CPU one at a time is faster, as
nothing is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from linescape.geometry.paths import Path, Segment
from linescape.geometry.tensors import is_continuous

ONE_BY_ONE = frozenset({"cpu", "mps"})
"""Devices where tensors are written one by one. On two cores, the 102 of a ResNet-18 of width 64 took 12 ms one by one
and 67 ms together. Of ``mps`` nothing was measured."""

_COUNTS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""Types that do not move and that torch copies together."""

_LARGE, _TOGETHER = 1 << 24, 1 << 26
"""Bytes of a tensor that is written by itself, and of those that are computed before they are written: the limit of the
memory that this takes."""


class Writer:
    """Writes positions of a path into tensors, with the same numbers as `Path.write`.

    Args:
        path: whose positions are written.
        into: tensors by name, of the shapes of the path's; those that are written.
    """

    def __init__(self, path: Path, into: Mapping[str, Tensor]) -> None:
        self._path, self._into = path, into
        self._groups: list[_Group] = []
        self._others: list[str] = []
        open_groups: dict[tuple[object, ...], _Group] = {}
        for name, tensor in into.items():
            segment = path.segment(name)
            if segment is None or not _suits(tensor, segment):
                self._others.append(name)
                continue
            start, end, _ = segment
            # One that lies otherwise in memory than its ends would have torch compute its whole group one by one.
            kind = (tensor.dtype, tensor.device, tensor.stride() == start.stride() == end.stride())
            group = open_groups.get(kind)
            if group is None or group.bytes + tensor.nbytes > _TOGETHER:
                group = open_groups[kind] = _Group()
                self._groups.append(group)
            group.add(name, tensor, start, end)

    def __call__(self, alpha: float) -> None:
        """Write the position alpha.

        Raises:
            RuntimeError: a tensor cannot be written to.
        """
        others = list(self._others)
        for group in self._groups:
            if alpha in (0.0, 1.0) or not group.moves:
                torch._foreach_copy_(group.into, group.ends if alpha else group.starts)
            elif 0.0 <= alpha <= 1.0:
                # Not `_foreach_lerp_` of copies: tensors that share memory would be interpolated twice.
                torch._foreach_copy_(group.into, torch._foreach_lerp(group.starts, group.ends, alpha))
            else:  # where a position may not be finite though its ends are
                others += group.names
        for name in others:
            self._path.write(name, alpha, self._into[name])


class _Group:
    """Tensors of one type on one device with their ends."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.into: list[Tensor] = []
        self.starts: list[Tensor] = []
        self.ends: list[Tensor] = []
        self.bytes = 0

    @property
    def moves(self) -> bool:
        return is_continuous(self.into[0].dtype)

    def add(self, name: str, into: Tensor, start: Tensor, end: Tensor) -> None:
        self.names.append(name)
        self.into.append(into)
        self.starts.append(start)
        self.ends.append(end)
        self.bytes += into.nbytes


def _suits(into: Tensor, segment: Segment) -> bool:
    """Whether a tensor may be written together with others; not where a position may have to be corrected."""
    start, end, fits = segment
    alike = all((each.dtype, each.device) == (into.dtype, into.device) for each in (start, end))
    small = into.device.type not in ONE_BY_ONE and into.nbytes <= _LARGE
    return alike and small and (fits or into.dtype in _COUNTS)
