"""Settings as they are typed: one form for networks, data, interventions and other people's models."""

from __future__ import annotations

import msgspec
import pytest

from linescape.errors import RecipeError
from linescape.recipe import MLP, Data, Schedule, typed


def test_commas_divide_outside_of_brackets() -> None:
    assert typed.split("a,b=(1,2), c=[3,4] ,d") == ["a", "b=(1,2)", "c=[3,4]", "d"]
    assert typed.name_and_settings("a b,size=(2, 3),k=x=y") == ("a b", {"size": "(2, 3)", "k": "x=y"})
    assert typed.name_and_settings("a=b") == ("a=b", {})


@pytest.mark.parametrize("part", ["b", "=1", "k=2", ""])
def test_settings_are_named_and_come_once(part: str) -> None:
    with pytest.raises(RecipeError, match=f"has the setting '{part}'; settings are name=value, each once"):
        typed.name_and_settings(f"a,k=1,{part}")


def test_values_have_the_type_of_their_field() -> None:
    assert typed.content(Schedule, "kind", "step,epochs=3,drops=1/2,warmup=1") == Schedule(
        3, "step", (1, 2), warmup=1.0
    )
    assert typed.content(MLP, None, "mlp,hidden=,activation=tanh") == MLP((), "tanh")
    assert typed.convert("true", bool) is True
    with pytest.raises(msgspec.ValidationError):
        typed.convert("1.5", int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digits,fration=1", "has the setting 'fration=1'.*Did you mean 'fraction'"),
        ("digits,fraction=much", r"'digits,fraction=much' is not possible: Expected `float`, got `str` for fraction\."),
        (
            "digits,augment=turn",
            r"Invalid enum value 'turn' for augment\. Known: none, flip, crop, crop-flip, cutout\.",
        ),
        ("digits,fraction=2", r"'digits,fraction=2' is not possible: fraction is 2.0, .*\(0, 1\]\.$"),
        ("digits,augment=flap", "Did you mean 'flip'|Invalid enum value 'flap'"),
    ],
)
def test_what_is_impossible_names_the_text(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        typed.content(Data, "name", text)
