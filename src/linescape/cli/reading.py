"""How commands read checkpoints: options that `diff`, `probe`, `average`, `plane` and `doctor` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from linescape.cli.consoles import Many
from linescape.errors import RecipeError

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.checkpoints import Contents
    from linescape.checkpoints.align import Fit


@Parameter(name="*", group=Group("Reading checkpoints", sort_key=3))
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read two checkpoints and match their tensors.

    Attributes:
        ema: read the moving average of the weights that is stored in the files.
        key: where the network is in files that hold several, such as teacher or state/model.
        rename: PATTERN=NEW; replaces a regular expression in the tensor names of both checkpoints.
        allow_missing: tensors whose names match one of these patterns may be missing from one checkpoint or differ in
            shape. They are held fixed at the values of END.
        only_shared: any tensor may be missing or differ in shape, and is then held fixed at the values of END.
    """

    ema: Annotated[bool, Parameter(negative="")] = False
    key: str | None = None
    rename: Annotated[tuple[str, ...], Many] = ()
    allow_missing: Annotated[tuple[str, ...], Many] = ()
    only_shared: Annotated[bool, Parameter(negative="")] = False

    def read(self, path: Path) -> Contents:
        """One of the checkpoints.

        Raises:
            CheckpointError: as `linescape.checkpoints.read`.
        """
        from linescape import checkpoints

        return checkpoints.read(path, self.ema, self.key)

    def fit(self) -> Fit:
        """The differences that are allowed, for `align.pair`.

        Raises:
            RecipeError: a `rename` has no ``=``.
        """
        from linescape.checkpoints.align import Fit

        for text in self.rename:
            if "=" not in text:
                raise RecipeError(f"--rename {text!r} has no '='. Write PATTERN=NEW; an empty NEW deletes the match.")
        return Fit(
            [(old, new) for old, _, new in (text.rpartition("=") for text in self.rename)],
            self.allow_missing,
            self.only_shared,
        )


PLAIN = Reading()
