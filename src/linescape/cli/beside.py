"""What `probe` measures beside the line of the whole network: blocks, the arc, merged weights, aligned ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from linescape.cli.consoles import Many, echo_err
from linescape.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

    from linescape.checkpoints import Contents
    from linescape.evaluation.evaluator import Evaluator
    from linescape.geometry import paths
    from linescape.geometry.groups import Groups
    from linescape.geometry.state import State

_ALIGNED = "aligned by "


@Parameter(name="*", group=Group("Further lines", sort_key=2))
@dataclass(frozen=True, kw_only=True)
class Beside:
    """Which further lines and paths to measure between two checkpoints.

    Attributes:
        layers: also measure the layer-wise line of each block, with the other blocks held fixed at END.
        pattern: also measure the line of the tensors whose names match this regular expression, the others held fixed.
        slerp: also measure the spherical path, tensor by tensor, as tools that merge language models do.
        merged: also measure the line in merged weights, of networks with LoRA, beside the one in their factors.
        align: also measure the line to END with its units permuted so that they fit those of START (Git Re-Basin): by
            weights or by activations.
        aligned_out: write END with its units permuted, in its own format, to this file or folder.
    """

    layers: Annotated[bool, Parameter(negative="")] = False
    pattern: Annotated[tuple[str, ...], Many] = ()
    slerp: Annotated[bool, Parameter(negative="")] = False
    merged: Annotated[bool, Parameter(negative="")] = False
    align: Annotated[tuple[Literal["weights", "activations"], ...], Many] = ()
    aligned_out: Path | None = None

    def check(self, like: Contents) -> None:
        """Refuse what cannot be, before anything is measured.

        Args:
            like: the checkpoint at the end.

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

    def groups(self, network: nn.Module) -> Groups:
        """The tensors of each layer-wise line.

        Raises:
            GroupError: a pattern is no regular expression, or matches nothing.
        """
        from linescape.geometry import groups

        chosen = groups.by_pattern(network, self.pattern)
        return groups.joined(groups.by_block(network), chosen) if self.layers else chosen


NOTHING = Beside()


def paths_beside(
    start: State, end: State, evaluator: Evaluator, wanted: Beside
) -> tuple[dict[str, paths.Path], list[str]]:
    """The paths by name, and notes.

    Args:
        start: the network at alpha = 0.
        end: the network at alpha = 1.
        evaluator: the network and its data.
        wanted: which paths.

    Raises:
        StateError, DataError: as `Merged` and `align`.
    """
    from linescape.geometry.merged import Merged
    from linescape.geometry.paths import Line
    from linescape.geometry.slerp import Slerp
    from linescape.interpolation.alignment.aligning import align

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
        others[_ALIGNED + by] = Line(start, alignment.state)
        notes += [f"Aligned by {by}: {alignment.summary}.", *alignment.notes]
    return others, notes


def write_aligned(
    others: Mapping[str, paths.Path], network: nn.Module, wanted: Beside, in_file: Contents
) -> tuple[str, ...]:
    """Write the aligned end if it was asked for; returns what was left out.

    Args:
        others: the paths of `paths_beside`.
        network: of which the checkpoints are.
        wanted: where it is written.
        in_file: the end's checkpoint, in whose format it is written.

    Raises:
        StateError, StoreError: as `write_state`.
    """
    from linescape.checkpoints.rewriting import write_state

    if wanted.aligned_out is None:
        return ()
    (by,) = wanted.align
    provenance = {"aligned": {"with": Path(in_file.path).name, "by": by}}
    notes = write_state(in_file, network, others[_ALIGNED + by].at(1.0), wanted.aligned_out, provenance)
    echo_err(f"The aligned end: {wanted.aligned_out}")
    return notes
