"""Errors by class, by hand; and what cannot be told apart is refused."""

from __future__ import annotations

import numpy as np
import pytest

from linescape.errors import MeasureError
from linescape.interpolation.by_class import ClassErrors, class_errors

ALPHAS = np.array([0.0, 1.0])
TARGETS = np.array([2, 0, 0, 1, 0])
VALUES = np.array([[0.0, 100, 0, 100, 100], [0, 0, 0, 100, 100]], np.float32)


def test_each_class_has_the_mean_of_its_own_examples() -> None:
    found = class_errors(ALPHAS, VALUES, TARGETS, np.array([0.5, -1.0, 0.0]))
    np.testing.assert_allclose(found.errors, [[200 / 3, 100, 0], [100 / 3, 100, 0]])
    np.testing.assert_array_equal(found.counts, [3, 1, 1])
    assert found.gap == 1.5
    assert found.deviation == pytest.approx(np.sqrt((0.25 + 1) / 3 - (0.5 / 3) ** 2))


def test_it_is_kept_as_bytes() -> None:
    found = class_errors(ALPHAS, VALUES, TARGETS, np.array([0.5, -1.0, 0.0]))
    again = ClassErrors.from_bytes(found.to_bytes())
    for name in ("alphas", "errors", "counts", "biases"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    with pytest.raises(ValueError, match="not those that were written"):
        ClassErrors.from_bytes(found.to_bytes()[:-1] + b"x")


def test_examples_without_their_class_and_classes_without_examples_are_refused() -> None:
    with pytest.raises(MeasureError, match="which example is of which class"):
        class_errors(ALPHAS, VALUES, TARGETS[:4], np.zeros(3))
    for classes in (2, 4):
        with pytest.raises(MeasureError, match="of 3 classes"):
            class_errors(ALPHAS, VALUES, TARGETS, np.zeros(classes))
