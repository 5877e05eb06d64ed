"""What is measured, of which network, on which data and where: options that `probe`, `plane` and `doctor` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from linescape.cli.consoles import Many

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from torch import Tensor

    from linescape.cli.specs import Resolved
    from linescape.evaluation.evaluator import Evaluator


@Parameter(name="*", group=Group("Network and data", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network, its data, and where to compute.

    Attributes:
        model: the network. module:callable or file.py:function that returns yours; torchvision:NAME or timm:NAME with
            settings, as in timm:vit_tiny_patch16_224,num_classes=10; hf:FOLDER, a Hugging Face folder; or a network of
            linescape, as in resnet,depth=18. Not needed for checkpoints of linescape and Hugging Face folders.
        data: the data. module:callable or file.py:function that returns {"train": ..., "test": ...}, each (inputs,
            targets) or an iterable of batches; images:FOLDER,size=224; hf-data:FOLDER, a Hugging Face data set on disk;
            text:FILE,length=128 for language models; or a data set of linescape, as in fashion-mini,size=14. Not needed
            for checkpoints of linescape.
        device: where to compute: cpu, cuda, ...
    """

    model: str | None = None
    data: str | None = None
    device: str = "cpu"

    def resolve(self, metadata: Mapping[str, str] | None, end: Path, tensors: Mapping[str, Tensor]) -> Resolved:
        """The network, on its device, and the data.

        Args:
            metadata: of the checkpoint at the end; in linescape's own checkpoints it has the recipe.
            end: where this checkpoint is.
            tensors: what is in it.

        Raises:
            RecipeError, DataError: as `specs.network_and_data`.
        """
        from linescape.cli import specs

        resolved = specs.network_and_data(self.model, self.data, metadata, end, tensors)
        resolved.network.to(self.device)
        return resolved


@Parameter(name="*", group=Group("Network, data and measures", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Measuring(Subject):
    """A network, data, and what to measure for each example.

    Attributes:
        measure: what to measure for each example: cross_entropy, error, binary_cross_entropy, binary_error or
            squared_error.
        batchnorm: how to set BatchNorm statistics between the networks: interpolate, recalibrate or batch; on a line
            also start or end, those of one of its ends.
        precision: bfloat16 is faster where the processor has instructions for it, and is not used elsewhere; the
            report states its deviation from full precision.
    """

    measure: Annotated[tuple[str, ...], Many] = ("cross_entropy", "error")
    batchnorm: Annotated[tuple[str, ...], Many] = ("interpolate",)
    precision: Literal["bfloat16"] | None = None

    def check(self) -> None:
        """Refuse unknown measures and devices, before anything is read.

        Raises:
            RecipeError, MeasureError: as `specs.device` and `specs.measures_named`.
        """
        from linescape.cli import specs

        specs.device(self.device)
        specs.measures_named(self.measure)

    def evaluator(self, resolved: Resolved) -> Evaluator:
        """Measures this network on these data."""
        from linescape.cli import specs
        from linescape.evaluation.evaluator import Evaluator

        measures = specs.measures_named(self.measure)
        return Evaluator(resolved.network, resolved.data, measures, precision=self.precision, copy=False)


BY_DEFAULT, CPU = Measuring(), Subject()
