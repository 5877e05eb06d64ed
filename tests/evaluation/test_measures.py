from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import DataError, MeasureError
from linescape.evaluation import measures
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import (
    binary_cross_entropy,
    binary_error,
    by_position,
    counted,
    counting,
    cross_entropy,
    error,
    squared_error,
)
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def test_values_by_hand() -> None:
    outputs = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]])
    targets = torch.tensor([1, 1])
    assert cross_entropy(outputs, targets).tolist() == pytest.approx([math.log(4 / 3), math.log(2)])
    assert error(outputs, targets).tolist() == [0, 100]  # a tie counts as the first class
    assert squared_error(outputs, targets).tolist() == pytest.approx([(math.log(3) - 1) ** 2, 25 + 16])


def test_chance_is_the_logarithm_of_the_number_of_classes() -> None:
    values = cross_entropy(torch.zeros(4, 10), torch.arange(4))
    assert values.tolist() == pytest.approx([math.log(10)] * 4)


def test_class_probabilities_are_targets_too() -> None:
    outputs = torch.randn(5, 3)
    hard = torch.tensor([0, 1, 2, 1, 0])
    soft = torch.nn.functional.one_hot(hard).float()
    assert torch.allclose(cross_entropy(outputs, hard), cross_entropy(outputs, soft))
    assert torch.equal(error(outputs, hard), error(outputs, soft))


def test_half_precision_is_measured_in_float32() -> None:
    outputs = torch.randn(5, 3).bfloat16()
    assert cross_entropy(outputs, torch.zeros(5, dtype=torch.long)).dtype == torch.float32


def test_nan_outputs_are_kept_and_count_as_wrong() -> None:
    outputs, targets = torch.tensor([[math.nan, 1.0]]), torch.tensor([0])
    assert math.isnan(cross_entropy(outputs, targets).item())
    assert error(outputs, targets).item() == 100


def test_what_does_not_fit_is_refused() -> None:
    outputs = torch.zeros(2, 3)
    with pytest.raises(DataError, match="Labels run from 0 to 3, but the network has 3 outputs"):
        cross_entropy(outputs, torch.tensor([0, 3]))
    with pytest.raises(DataError, match="from -1"):
        error(outputs, torch.tensor([0, -1]))
    with pytest.raises(MeasureError, match="needs logits"):
        cross_entropy(torch.zeros(2, 3, 4), torch.tensor([0, 1]))
    with pytest.raises(MeasureError, match="equal shapes"):
        squared_error(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(MeasureError, match="two tensors"):
        cross_entropy([outputs], torch.tensor([0, 1]))  # type: ignore[arg-type]


def test_positions_that_count_are_averaged() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(3, 4, 5), torch.randint(0, 5, (3, 4))
    targets[0, 2:] = targets[1, :3] = targets[2] = -100
    outputs[0, 3] = math.nan  # where nothing counts, nothing matters
    losses = [
        [-outputs[i, t].log_softmax(0)[targets[i, t]].item() for t in kept] for i, kept in ((0, [0, 1]), (1, [3]))
    ]
    assert cross_entropy(outputs, targets).tolist() == pytest.approx([sum(losses[0]) / 2, losses[1][0], 0])
    wrong = [[float(outputs[i, t].argmax() != targets[i, t]) for t in kept] for i, kept in ((0, [0, 1]), (1, [3]))]
    assert error(outputs, targets).tolist() == pytest.approx([50 * sum(wrong[0]), 100 * wrong[1][0], 0])
    counts = counted(targets)
    assert counts is not None
    assert counts.tolist() == [2, 1, 0]
    assert cross_entropy(outputs.bfloat16(), targets).dtype == torch.float32


def test_pixels_are_positions_too() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    targets[0, 1] = -100
    flat = outputs.permute(0, 2, 3, 1).reshape(2, 20, 3)
    assert torch.allclose(cross_entropy(outputs, targets), cross_entropy(flat, targets.reshape(2, 20)))
    assert torch.allclose(error(outputs, targets), error(flat, targets.reshape(2, 20)))


def test_labels_of_positions_are_checked() -> None:
    with pytest.raises(DataError, match="Labels run from 0 to 5, but the network has 5 outputs"):
        cross_entropy(torch.zeros(1, 2, 5), torch.tensor([[0, 5]]))
    with pytest.raises(DataError, match="from -1"):
        error(torch.zeros(1, 2, 5), torch.tensor([[-1, -100]]))
    with pytest.raises(MeasureError, match="for tokens"):
        cross_entropy(torch.zeros(1, 5, 3), torch.tensor([[0, 1]]))
    assert counted(torch.tensor([0, 1])) is None
    assert counted(torch.zeros(2, 3)) is None
    assert counted([1]) is None


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        ((6, 1), torch.rand(6, 1)),
        ((6, 1), torch.ones(6, 1)),
        ((6, 4), torch.eye(6, 4) + torch.eye(6, 4).flip(0)),  # each row has one or two labels
        ((6, 3), torch.zeros(6, 3)),
        ((6, 3), torch.tensor([[0.5, 0.7, -0.2]] * 6)),
        ((6, 3), torch.full((6, 3), math.nan)),
        ((6, 3), torch.arange(6.0) % 3),
        ((6, 1, 2, 2), torch.ones(6, 1, 2, 2)),
        ((6, 3, 2, 2), torch.full((6, 3, 2, 2), 1 / 3)),
    ],
)
@pytest.mark.parametrize("measure", [cross_entropy, error])
def test_floats_that_are_no_probabilities_are_refused(
    measure: measures.Measure, outputs: tuple[int, ...], targets: Tensor
) -> None:
    with pytest.raises(MeasureError, match=r"binary_cross_entropy, binary_error.*squared_error.*must be integers"):
        measure(torch.randn(outputs), targets)


def test_probabilities_in_half_precision_are_taken() -> None:
    soft = torch.rand(50, 100).softmax(1)
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        outputs = torch.randn(50, 100)
        expected = -(soft.to(kind).float() * outputs.log_softmax(1)).sum(1)
        assert torch.allclose(cross_entropy(outputs, soft.to(kind).float()), expected, atol=1e-5)
    assert error(soft, soft.bfloat16().float() * 0 + soft).tolist() == [0] * 50


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool])
def test_class_numbers_are_of_any_integer_type(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(7, 3), torch.arange(7) % 2
    tokens = torch.randn(7, 4, 3)
    for measure in (cross_entropy, error, squared_error):
        assert torch.equal(measure(outputs, targets.to(kind)), measure(outputs, targets))
    for measure in (cross_entropy, error):
        labels = (torch.arange(28).view(7, 4) % 2).to(kind)
        assert torch.equal(measure(tokens, labels), measure(tokens, labels.long()))
    # 156 is -100 in eight bits.
    wide = torch.randn(2, 1, 200)
    assert cross_entropy(wide, torch.tensor([[156], [3]], dtype=torch.uint8)).tolist() == pytest.approx(
        F.cross_entropy(wide[:, 0], torch.tensor([156, 3]), reduction="none").tolist()
    )
    assert counted(torch.tensor([[156]], dtype=torch.uint8)) == torch.tensor([1])


def test_classes_are_on_the_axis_that_fits() -> None:
    torch.manual_seed(0)
    for shape in ((2, 3, 7), (2, 3, 4, 5), (2, 3, 4, 5, 2)):
        second, targets = torch.randn(shape).double(), torch.randint(0, 3, (2, *shape[2:]))
        last = second.movedim(1, -1)
        expected = F.cross_entropy(second, targets, reduction="none").flatten(1).mean(1)
        wrong = (second.argmax(1) != targets).double().flatten(1).mean(1) * 100
        for outputs in (second, last):
            assert torch.allclose(cross_entropy(outputs, targets), expected)
            assert torch.allclose(error(outputs, targets).double(), wrong)


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 4, 4, 4)])
def test_where_two_axes_fit_one_must_be_named(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(shape).double(), torch.randint(0, shape[1], (2, *shape[2:]))
    for measure in (cross_entropy, error):
        with pytest.raises(MeasureError, match=r"axis 1, as in torch, or on the last axis.*class_axis=1"):
            measure(outputs, targets)
    by_axis = {axis: F.cross_entropy(outputs.movedim(axis, 1), targets).item() for axis in (1, -1)}
    for axis, expected in by_axis.items():
        assert cross_entropy(outputs, targets, class_axis=axis).mean().item() == pytest.approx(expected)
        wrong = (outputs.argmax(axis) != targets).double().mean().item() * 100
        assert error(outputs, targets, class_axis=axis).mean().item() == pytest.approx(wrong)
    with pytest.raises(MeasureError, match="needs logits"):
        cross_entropy(outputs, targets, class_axis=0)


def test_a_single_class_is_refused() -> None:
    for outputs, targets in (
        (torch.randn(4, 1), torch.zeros(4, dtype=torch.long)),
        (torch.randn(4, 1, 3, 3), torch.zeros(4, 3, 3, dtype=torch.bool)),
    ):
        with pytest.raises(MeasureError, match=r"single class.*binary_cross_entropy"):
            cross_entropy(outputs, targets)
    with pytest.raises(MeasureError, match="equal shapes"):
        squared_error(torch.randn(4, 1), torch.zeros(4, dtype=torch.long))


def weighted_mean(measure: measures.Measure, outputs: Tensor, targets: Tensor) -> float:
    """The mean that the evaluator makes of values and counts."""
    counts_of = counting(measure)
    assert counts_of is not None
    counts = counts_of(targets)
    assert counts is not None
    return float((measure(outputs, targets).double() * counts).sum() / counts.sum())


@pytest.mark.parametrize("shape", [(9,), (9, 4), (9, 2, 3)])
@pytest.mark.parametrize(
    "settings", [{"ignore_index": 255}, {"weight": [0.2, 3.0, 0.0]}, {"ignore_index": 0, "weight": [1.0, 2.0, 7.0]}]
)
def test_what_is_ignored_and_weights_are_as_in_torch(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    outputs, targets = torch.randn(9, 3, *shape[1:]).double(), torch.randint(0, 3, shape)
    if settings.get("ignore_index") == 255:
        targets.view(-1)[::4] = 255
    settings = {name: torch.tensor(value).double() if name == "weight" else value for name, value in settings.items()}
    expected = F.cross_entropy(outputs, targets, **settings).item()
    assert weighted_mean(partial(cross_entropy, **settings), outputs, targets) == pytest.approx(expected)
    kept = targets != settings.get("ignore_index", -100)
    weights = settings.get("weight", torch.ones(3).double())[targets[kept]]
    wrong = (outputs.argmax(1) != targets)[kept].double()
    assert weighted_mean(partial(error, **settings), outputs, targets) == pytest.approx(
        float(100 * (wrong * weights).sum() / weights.sum())
    )


def test_settings_that_do_not_fit_are_refused() -> None:
    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    for weight in (torch.ones(2), torch.tensor([1.0, -1, 1]), torch.tensor([1.0, math.nan, 1])):
        with pytest.raises(MeasureError, match="one number for each of the 3 classes"):
            cross_entropy(outputs, targets, weight=weight)
    with pytest.raises(MeasureError, match="must be a tensor"):
        error(outputs, targets, weight=[1.0, 1.0, 1.0])  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="needs logits"):
        cross_entropy(torch.randn(4), targets)
    with pytest.raises(MeasureError, match="no single class"):
        error(outputs, outputs.softmax(1), weight=torch.ones(3))
    with pytest.raises(DataError, match=r"Labels run from 0 to 255.*ignore_index"):
        cross_entropy(torch.randn(1, 3, 2, 2), torch.tensor([[[0, 255], [1, 2]]]))
    with pytest.raises(DataError, match="from -1"):
        cross_entropy(outputs, torch.tensor([0, -1, 255, 1]), ignore_index=255)


def test_single_targets_are_ignored_where_it_is_asked_for() -> None:
    outputs, targets = torch.randn(4, 3).double(), torch.tensor([0, -100, 2, -100])
    with pytest.raises(DataError, match="ignore_index"):
        cross_entropy(outputs, targets)
    ignoring = partial(cross_entropy, ignore_index=-100)
    assert weighted_mean(ignoring, outputs, targets) == pytest.approx(F.cross_entropy(outputs, targets).item())


def test_partial_measures_keep_their_name_and_mark() -> None:
    weighted = partial(cross_entropy, weight=torch.ones(3))
    assert measures.name(weighted) == "cross_entropy"
    weighted.__name__ = "weighted"  # type: ignore[attr-defined]
    assert measures.name(weighted) == "weighted"
    assert counting(squared_error) is None
    assert counting(partial(squared_error)) is None

    def own(outputs: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
        return cross_entropy(outputs, targets) * scale

    assert counting(partial(by_position(own), scale=2.0)) is not None


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((8,), (8,)), ((8, 1), (8,)), ((8,), (8, 1)), ((8, 1), (8, 1)), ((8, 5), (8, 5)), ((8, 1, 2, 3), (8, 2, 3))],
)
def test_binary_cross_entropy_is_that_of_torch(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(outputs).double(), torch.rand(targets) > 0.4
    expected = F.binary_cross_entropy_with_logits(logits.flatten(), labels.double().flatten()).item()
    wrong = ((logits.flatten() > 0) != labels.flatten()).double().mean().item() * 100
    for kind in (torch.bool, torch.uint8, torch.int64, torch.float32, torch.bfloat16):
        values = binary_cross_entropy(logits, labels.to(kind))
        assert values.shape == (8,)
        assert values.mean().item() == pytest.approx(expected)
        assert binary_error(logits, labels.to(kind)).mean().item() == pytest.approx(wrong)


def test_binary_measures_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3.0), math.nan])
    labels = torch.tensor([0.0, 0.25, 1.0])
    values = binary_cross_entropy(logits, labels).tolist()
    assert values[:2] == pytest.approx([math.log(2), -0.25 * math.log(3 / 4) - 0.75 * math.log(1 / 4)])
    assert math.isnan(values[2])
    assert binary_error(logits, labels).tolist() == [0, 100, 100]
    assert binary_cross_entropy(torch.zeros(2).bfloat16(), torch.ones(2)).dtype == torch.float32


def test_what_is_not_binary_is_refused() -> None:
    for measure in (binary_cross_entropy, binary_error):
        for labels in (torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 1.0]), torch.tensor([math.nan, 1.0])):
            with pytest.raises(DataError, match=r"0 and 1.*squared_error"):
                measure(torch.zeros(2, 1), labels)
        with pytest.raises(MeasureError, match=r"one logit for each label.*cross_entropy"):
            measure(torch.zeros(2, 2), torch.tensor([0, 1]))
        with pytest.raises(MeasureError, match="two tensors"):
            measure([1], torch.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="real numbers"):
        cross_entropy(torch.zeros(2, 2, dtype=torch.complex64), torch.tensor([0, 1]))


def test_probabilities_are_no_logits() -> None:
    torch.manual_seed(0)
    for shape, axis in (((5, 3), 1), ((1, 3, 6), 1), ((1, 6, 3), 2), ((4, 3, 2, 2), 1)):
        outputs = torch.randn(shape)
        targets = torch.zeros(outputs.movedim(axis, -1).shape[:-1], dtype=torch.long)
        with pytest.raises(MeasureError, match=r"outputs are probabilities.*\.log\(\)"):
            cross_entropy(outputs.softmax(axis), targets)
        assert torch.allclose(
            cross_entropy(outputs.softmax(axis).log(), targets), cross_entropy(outputs, targets), atol=1e-5
        )
        error(outputs.softmax(axis), targets)
    with pytest.raises(MeasureError, match="outputs are probabilities"):
        cross_entropy(torch.randn(9, 200).softmax(1).bfloat16(), torch.zeros(9).long())
    cross_entropy(torch.tensor([[0.25, 0.7501]]), torch.tensor([0]))  # one row may nearly sum to 1 by chance
    cross_entropy(torch.tensor([[0.25, 0.75]]).bfloat16(), torch.tensor([0]))


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("classes", [2, 1000, 50000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_are_found_in_small_batches(rows: int, classes: int, dtype: torch.dtype) -> None:
    outputs = (4 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(classes))).to(dtype)
    cross_entropy(outputs, torch.zeros(rows).long())
    with pytest.raises(MeasureError, match="outputs are probabilities"):
        cross_entropy(outputs.softmax(1), torch.zeros(rows).long())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_summed_in_single(dtype: torch.dtype) -> None:
    weight = torch.tensor([0.7, 1.3, 900.0], dtype=dtype)
    outputs, targets = torch.randn(6, 3, 400), torch.randint(0, 3, (6, 400))
    expected = F.cross_entropy(outputs.double(), targets, weight=weight.double()).item()
    assert weighted_mean(partial(cross_entropy, weight=weight), outputs, targets) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.int32])
def test_squared_errors_of_large_targets_are_exact(kind: torch.dtype) -> None:
    targets = torch.tensor([[2**27 + 1], [2**27 + 6], [2**27 - 3]]).to(kind)
    outputs = torch.full((3, 1), 2.0**27)
    assert squared_error(outputs, targets).tolist() == [1, 36, 9]
    assert squared_error(torch.ones(3, 1), torch.zeros(3, 1)).dtype == torch.float32


def test_means_that_are_not_those_of_torch_are_told() -> None:
    weighted = nn.CrossEntropyLoss(torch.ones(3), ignore_index=1, reduction="none")
    weight, ignored = measures.remarks(weighted)
    assert "partial(cross_entropy, weight=...)" in weight
    assert "whatever its ignore_index is" in ignored
    assert measures.remarks(partial(F.cross_entropy, ignore_index=1, reduction="none")) == [
        ignored.replace("CrossEntropyLoss", "cross_entropy")
    ]
    for plain in (nn.CrossEntropyLoss(reduction="none"), cross_entropy, partial(cross_entropy, weight=torch.ones(3))):
        assert measures.remarks(plain) == []
    network = nn.Linear(4, 3)
    line = Line(State.from_module(network), State.from_module(nn.Linear(4, 3)))
    evaluator = Evaluator(network, {"d": (torch.randn(9, 4), torch.arange(9) % 3)}, [weighted])
    assert weight in scan(line, evaluator, ScanOptions(alphas=3)).provenance["notes"]
