"""The error of each class along a path, beside the biases with which the last layer ends.

Wang et al. 2023 (arXiv 2210.01019): at small alpha the last biases outweigh the signal, so that nearly all examples are
taken for the class with the largest bias, and the error stays at chance.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from linescape import tensor_file
from linescape.errors import MeasureError

_FORMAT = "linescape-class-errors-1"


@dataclass(frozen=True, eq=False, repr=False)
class ClassErrors:
    """The result of `class_errors`.

    Attributes:
        alphas: positions ``(n,)``, rising.
        errors: share of the examples of each class that are taken for another, in %, ``(n, classes)``.
        counts: examples of each class ``(classes,)``.
        biases: of the last layer at the end of the path, in logits, ``(classes,)``.
    """

    alphas: np.ndarray
    errors: np.ndarray
    counts: np.ndarray
    biases: np.ndarray

    def __repr__(self) -> str:
        return f"<ClassErrors of {len(self.biases)} classes at {len(self.alphas)} positions>"

    @property
    def gap(self) -> float:
        """Largest minus smallest bias, in logits."""
        return float(np.ptp(self.biases))

    @property
    def deviation(self) -> float:
        """Standard deviation of the biases over classes, in logits: that of all classes, not of a sample."""
        return float(self.biases.std())

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), {"format": _FORMAT})

    @classmethod
    def from_bytes(cls, content: bytes) -> ClassErrors:
        """What `to_bytes` made.

        Raises:
            LookupError, TypeError, ValueError: it is damaged or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        if note["format"] != _FORMAT:
            raise ValueError("it has no errors by class")
        return cls(**{field.name: tensors[field.name].numpy() for field in fields(cls)})


def class_errors(alphas: np.ndarray, values: np.ndarray, targets: np.ndarray, biases: np.ndarray) -> ClassErrors:
    """Errors by class from those of each example.

    Args:
        alphas: positions ``(n,)``.
        values: error of each example in %, 0 or 100, ``(n, examples)``, as a `Series` of the measure ``error`` has.
        targets: the class of each example ``(examples,)``, whole numbers from 0.
        biases: of the last layer, one for each class ``(classes,)``.

    Raises:
        MeasureError: examples and targets differ in number, or a class has no example or no bias.
    """
    if values.shape != (len(alphas), len(targets)):
        raise MeasureError(
            f"The errors have shape {values.shape}, but there are {len(alphas)} positions and {len(targets)} targets, "
            "so it is unknown which example is of which class. Give the errors and the targets of the same examples."
        )
    counts = np.bincount(targets, minlength=len(biases))
    if len(counts) > len(biases) or not counts.all():
        raise MeasureError(
            f"The examples are of {np.count_nonzero(counts)} classes and there are {len(biases)} biases. The error of "
            "a class needs an example of it: measure more examples, one of each class at least."
        )
    of_class = targets[:, None] == np.arange(len(biases))  # (examples, classes)
    errors = values.astype(np.float64) @ of_class / counts
    return ClassErrors(np.asarray(alphas, np.float64), errors, counts, np.asarray(biases, np.float64))
