"""An impossible part of a recipe cannot be made, in whatever way."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from linescape.errors import RecipeError
from linescape.recipe import (
    MLP,
    VGG,
    Content,
    Data,
    EfficientNetLite,
    LoRA,
    Moment,
    Optimizer,
    Poison,
    Random,
    Recipe,
    Remaining,
    ResNet,
    Schedule,
    Trained,
    Weights,
)

IMPOSSIBLE: list[tuple[Callable[[], Content], str]] = [
    (lambda: LoRA(MLP(), rank=0), "rank is 0, .* Give a rank of 1 or more"),
    (lambda: LoRA(MLP(), alpha=math.inf), "alpha is inf"),
    (
        lambda: Recipe(model=LoRA(MLP()), trains=Remaining(Moment(Recipe(model=LoRA(MLP()))), 0.5)),
        "pruning by magnitude would compare the factors, .* with weights that are fixed",
    ),
    (lambda: Recipe(model=LoRA(MLP()), init=Random("normal")), "updates of LoRA.* draw their factors anew"),
    (
        lambda: Recipe(model=LoRA(MLP()), init=Trained(Recipe(model=MLP()), optimizer="kept")),
        "kept, but here updates of LoRA are trained that it does not have",
    ),
    (lambda: Optimizer(batch_size=0), "batch_size is 0, with which nothing can be trained. Give one example or more"),
    (lambda: Optimizer(batch_size=1.5), "batch_size of Optimizer is 1.5, .* Expected `int`"),  # type: ignore[arg-type]
    (lambda: Optimizer(lr=-1.0), "lr is -1.0"),
    (lambda: Optimizer(lr=math.inf), "lr is inf"),
    (lambda: Optimizer(lr="fast"), "lr of Optimizer is 'fast'"),  # type: ignore[arg-type]
    (lambda: Optimizer(momentum=1.0), r"momentum is 1.0.*\[0, 1\)"),
    (lambda: Optimizer(weight_decay=math.nan), "weight_decay is nan"),
    (lambda: Optimizer(native=True, precision="bfloat16"), "native is True .* compute in float32"),
    (lambda: Optimizer(precision="bfloat61"), "Did you mean 'bfloat16'"),  # type: ignore[arg-type]
    (lambda: Optimizer("adan"), "Optimizer has no name 'adan'. Did you mean 'adam'"),  # type: ignore[arg-type]
    (lambda: Schedule(epochs=-1), "epochs is -1"),
    (lambda: Schedule(drops=(3, -1)), r"drops is \(3, -1\)"),
    (lambda: Schedule(6, "step", (4, 2)), r"drops is \(4, 2\), .* epochs in order"),
    (lambda: Schedule(6, drops=(2,)), r"drops is \(2,\) .* kind 'constant' has no drops"),
    (lambda: Schedule(6, "cosine", (2, 4)), r"drops is \(2, 4\) .* kind 'cosine' has no drops"),
    (lambda: Schedule(6, "cosine", factor=0.5), r"factor is 0.5, .* they would do nothing"),
    (lambda: Schedule(6, "step", (2, 6)), r"drops is \(2, 6\), but the last epoch is 5"),
    (lambda: Data("caf\udcff"), "name is 'caf.udcff', which is not UTF-8"),
    (lambda: Schedule(factor=math.nan), "factor is nan"),
    (lambda: Schedule(warmup=-1.0), "warmup is -1.0"),
    (lambda: Schedule(until_error=100.0), "until_error is 100.0"),
    (lambda: Schedule(kind="cosin"), "Did you mean 'cosine'"),  # type: ignore[arg-type]
    (lambda: Random("kaiming"), "Did you mean 'kaiming_normal'"),  # type: ignore[arg-type]
    (lambda: Random(scale=math.inf), "scale is inf"),
    (lambda: Data(fraction=0), "fraction is 0.0, .* to keep, in .0, 1]"),
    (lambda: Data(label_noise=0.1, classes=(3,)), "label_noise is 0.1 .* only one"),
    (lambda: Data(classes=(1, 1)), "different labels"),
    (lambda: Data(classes=(-1,)), "different labels"),
    (lambda: Data(poison=Poison(copies=0)), "at least one copy"),
    (lambda: Data(mixup=-1), "mixup is -1"),
    (lambda: ResNet(19), "no ResNet of depth 19"),
    (lambda: ResNet(width=0), "Give a ResNet one channel or more"),
    (lambda: ResNet(resolution=-1), "resolution is -1"),
    (lambda: ResNet(skips=False, identity=True), "identity is True without skips"),
    (lambda: EfficientNetLite(-1), "resolution is -1"),
    (lambda: VGG(12), "VGG has no depth 12. Known: 11, 13, 16, 19."),  # type: ignore[arg-type]
    (lambda: MLP((5, 0)), r"hidden is \(5, 0\)"),
    (lambda: MLP(pieces=3), "pieces is 3, but the activation is 'relu', and only maxout has pieces"),
    (lambda: MLP(activation="maxout", pieces=0), "pieces is 0"),
    (lambda: MLP(norm="batch", bias="none"), "bias is 'none' with norm 'batch', whose shifts are biases too"),
    (lambda: Weights("a.pth", "0" * 7), "hash of a.pth .* first 8 digits or more"),
    (lambda: Weights("a.pth", "ABCDEF01"), "lower-case hex"),
    (lambda: Recipe(init=Trained(Recipe(), optimizer="kept"), optimizer=Optimizer("adam")), "cannot be kept"),
    (lambda: Moment(Recipe(), "step"), "number is None, .* Give that of the step, 0 or more"),
    (lambda: Moment(Recipe(), "epoch", -1), "number is -1"),
    (lambda: Moment(Recipe(), "end", 3), "number is 3, but a training has one end. Give at='step' or 'epoch'"),
    (lambda: Moment(Recipe(), "stpe", 3), "Did you mean 'step'"),  # type: ignore[arg-type]
    (lambda: Moment(Recipe(), "best"), "trains on all of its examples, .* Hold some out, .* held_out=0.1 of Data"),
    (lambda: Moment(Recipe(Data(held_out=0.1)), "best", 3), "number is 3, but a training has one best"),
    (lambda: Trained(Recipe(), at="best"), "trains on all of its examples"),
    (lambda: Trained(Recipe(), at="epoch"), "number is None"),
    (lambda: Trained(Recipe(), number=3), "number is 3, but a training has one end"),
    (lambda: Recipe(model="resnet"), "model of Recipe is 'resnet'"),  # type: ignore[arg-type]
    (lambda: Recipe(data=MLP()), "data of Recipe is MLP"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), IMPOSSIBLE)
def test_what_is_impossible_cannot_be_made(make: Callable[[], Content], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make()


def test_nor_by_a_change() -> None:
    with pytest.raises(RecipeError, match="lr is -1"):
        replace(Optimizer(), lr=-1.0)


def test_nor_decoded() -> None:
    text = msgspec.json.encode(Recipe()).replace(b'"lr":0.1', b'"lr":-0.1')
    with pytest.raises(
        msgspec.ValidationError, match=r"lr is -0.1, with which nothing can be trained.*at `\$.optimizer`"
    ):
        msgspec.json.decode(text, type=Recipe)


def test_values_get_the_types_of_their_fields() -> None:
    optimizer = Optimizer(lr=1, momentum=0)
    assert (type(optimizer.lr), type(optimizer.momentum)) == (float, float)
    assert optimizer.key == Optimizer(lr=1.0, momentum=0.0).key
    assert MLP([3, 4]) == MLP((3, 4))  # type: ignore[arg-type]
    assert hash(MLP([3, 4])) == hash(MLP((3, 4)))  # type: ignore[arg-type]


def test_a_state_has_one_name() -> None:
    start = Moment(Recipe(), "start")
    assert Moment(Recipe(), "step", 0) == Moment(Recipe(), "epoch", 0) == start
    assert Moment(Recipe(), "step", 0).key == start.key
    assert Trained(Recipe(), at="epoch", number=0) == Trained(Recipe(), at="start")
    later = Moment(Recipe(), "epoch", 3)
    assert msgspec.json.decode(msgspec.json.encode(later), type=Moment) == later
    assert [str(Moment(Recipe(), *at)) for at in (("end",), ("step", 7))] == ["end", "step 7"]


def test_what_continues_another_training_does_not_start_at_step_0() -> None:
    recipe = Recipe(init=Trained(Recipe(), at="step", number=9, schedule="continued"))
    assert Moment(recipe, "step", 0) != Moment(recipe, "start")
