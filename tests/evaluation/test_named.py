from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from linescape.errors import MeasureError
from linescape.evaluation.measures import error, squared_error
from linescape.evaluation.named import MEASURES, by_name


def test_measures_by_name_in_a_list_or_under_names_of_ones_own() -> None:
    def own(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum(1)

    assert list(by_name(["error", own])) == ["error", "own"]
    assert by_name({"wrong": "error", "mine": own}) == {"wrong": error, "mine": own}
    assert list(by_name([lambda o, t: o, own, lambda o, t: t])) == ["measure_1", "own", "measure_3"]
    assert by_name(["squared_error"]) == {"squared_error": squared_error}
    assert set(MEASURES) == {
        "cross_entropy",
        "error",
        "binary_cross_entropy",
        "binary_error",
        "squared_error",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["eror"], "There is no measure 'eror'. Did you mean 'error'"),
        ({"mine": "eror"}, "There is no measure 'eror'"),
        ("error", "are a str, not a list"),
        (error, "are a function, not a list"),
        ([], "there must be one"),
        ({}, "there must be one"),
        (["error", error], "each needs a name of its own"),
        ([torch.nn.CrossEntropyLoss], "is not a function"),
        ({3: error}, "are named [3]"),
        ([3], "The measure 3 is not a function"),
    ],
)
def test_what_are_no_measures(given: Any, said: str) -> None:
    with pytest.raises(MeasureError, match=re.escape(said)):
        by_name(given)
