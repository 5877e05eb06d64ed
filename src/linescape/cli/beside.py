"""Paths beside the line that `probe` measures on request: the arc, merged weights, lines to an aligned end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linescape.cli.consoles import echo_err
from linescape.errors import RecipeError

if TYPE_CHECKING:
    from linescape.checkpoints import Contents
    from linescape.evaluation.evaluator import Evaluator
    from linescape.geometry import paths
    from linescape.geometry.state import State


@dataclass(frozen=True)
class Beside:
    """What was asked for.

    Attributes:
        slerp: the arc, tensor by tensor.
        merged: the line in merged weights, of networks with LoRA.
        align: ways to align the end.
        aligned_out: where the aligned end is written.
    """

    slerp: bool
    merged: bool
    align: tuple[Literal["weights", "activations"], ...]
    aligned_out: Path | None

    def check(self, like: Contents) -> None:
        """Refuse what cannot be, before anything is measured.

        Raises:
            RecipeError: there is not one aligned network to write.
            StoreError: the place is taken.
        """
        from linescape.checkpoints import check_new

        if self.aligned_out is not None:
            if len(self.align) != 1:
                raise RecipeError(
                    f"--aligned-out writes one aligned network, and --align was given {len(self.align)} ways. Write "
                    "--align weights, or --align activations."
                )
            check_new(self.aligned_out, like)


def paths_beside(
    start: State, end: State, evaluator: Evaluator, wanted: Beside, in_file: Contents
) -> tuple[dict[str, paths.Path], list[str]]:
    """The paths by name, and notes; the aligned end is written.

    Args:
        start: the network at alpha = 0.
        end: the network at alpha = 1.
        evaluator: the network and its data.
        wanted: which paths.
        in_file: the end's checkpoint, in whose format the aligned end is written.

    Raises:
        RecipeError, StateError, StoreError, DataError: as `Beside.check`, `Merged` and `align`.
    """
    from linescape.checkpoints.rewriting import write_state
    from linescape.geometry.merged import Merged
    from linescape.geometry.paths import Line
    from linescape.geometry.slerp import Slerp
    from linescape.interpolation.alignment.aligning import align

    wanted.check(in_file)
    others: dict[str, paths.Path] = {"slerp": Slerp(start, end)} if wanted.slerp else {}
    notes: list[str] = []
    if wanted.merged:
        others["merged weights"] = path = Merged(start, end, evaluator.model)
        notes.append(
            "Both networks have the same merged weights, in other factors."
            if path.apart is None
            else f"Halfway the line in factors is {path.apart:.2g} of the length of the line in merged weights away "
            "from it. This distance depends on how each product is split into factors, which does not change the "
            "networks' outputs."
        )
    for by in dict.fromkeys(wanted.align):
        alignment = align(start, end, evaluator, by)
        echo_err(f"aligned by {by}: {alignment.summary}")
        others[f"aligned by {by}"] = Line(start, alignment.state)
        notes += [f"Aligned by {by}: {alignment.summary}.", *alignment.notes]
        if wanted.aligned_out is not None:
            provenance = {"aligned": {"with": Path(in_file.path).name, "by": by}}
            notes += write_state(in_file, evaluator.model, alignment.state, wanted.aligned_out, provenance)
            echo_err(f"The aligned end: {wanted.aligned_out}")
    return others, notes
