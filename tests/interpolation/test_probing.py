"""Lines between several networks."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from torch import Tensor

from linescape.errors import AlphaError, EndsError, GroupError, RecipeError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line, Only
from linescape.geometry.slerp import Slerp
from linescape.geometry.state import State, distance
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.probing import between, probe
from linescape.interpolation.scanning import scan
from tests.support.networks import ConvNet, lived_in

Images = tuple[Tensor, Tensor]


class Lazy(Mapping[str, State]):
    """States that are made when asked for; remembers how many are alive at a time."""

    def __init__(self, inputs: Tensor, count: int) -> None:
        self.inputs, self.names = inputs, [f"step-{number}" for number in range(count)]
        self.made: list[weakref.ref[State]] = []
        self.most = 0

    def __getitem__(self, name: str) -> State:
        made = lived_in(ConvNet(), self.inputs, self.names.index(name))
        self.made.append(weakref.ref(made))
        gc.collect()
        self.most = max(self.most, sum(reference() is not None for reference in self.made))
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def test_a_probe_of_equal_networks_says_so(images: Images) -> None:
    net = ConvNet()
    found = probe(
        State.from_module(net), State.from_module(net), Evaluator(net, {"test": images}), options=ScanOptions(alphas=3)
    )
    assert found.notes[0] == "The two networks are equal, so nothing changes along the line."
    assert found.notes[0] not in found.summary().text
    assert f"\nNote: {found.notes[0]}" in str(found.summary())


def test_each_line_is_the_scan_of_its_two_ends(images: Images) -> None:
    net = ConvNet()
    states = Lazy(images[0], 3)
    evaluator = Evaluator(net, {"test": images})
    found = between(states, evaluator, "all", ScanOptions(alphas=5))
    assert found.pairs == {f"step-{a} to step-{b}": (f"step-{a}", f"step-{b}") for a, b in ((0, 1), (0, 2), (1, 2))}
    for label, (start, end) in found.pairs.items():
        own = scan(Line(states[start], states[end]), Evaluator(net, {"test": images}), ScanOptions(alphas=5))
        for key, values in own.values.items():
            np.testing.assert_array_equal(found.curves[label].values[key], values)
        assert found.distances[label].total == distance(states[start], states[end])
    assert {line for line, *_ in found.statistics} == set(found.pairs)


@pytest.mark.parametrize("fast", [True, False])
def test_no_more_than_two_ends_are_held(images: Images, fast: bool) -> None:
    net = ConvNet()
    states = Lazy(images[0], 4)
    found = between(states, Evaluator(net, {"test": images}, fast=fast), options=ScanOptions(alphas=3))
    assert list(found.pairs.values()) == [(f"step-{number}", "step-3") for number in range(3)]
    assert len(states.made) == 4  # the common end once
    assert states.most == 2
    states = Lazy(images[0], 4)
    between(states, Evaluator(net, {"test": images}, fast=fast), "all", ScanOptions(alphas=3))
    assert states.most == 2


def test_one_state_is_no_line(images: Images) -> None:
    net = ConvNet()
    with pytest.raises(StateError, match=r"There are 1 states \(only\)"):
        between({"only": State.from_module(net)}, Evaluator(net, {"test": images}))


@pytest.mark.parametrize("alphas", [2, [-0.5, 0, 1], [1, 3]])
def test_a_line_without_a_position_between_is_refused_before_anything_is_measured(
    images: Images, alphas: int | list[float]
) -> None:
    start, end = (lived_in(ConvNet(), images[0], seed) for seed in (1, 2))
    evaluator, options = Evaluator(ConvNet(), {"test": images}), ScanOptions(alphas=alphas)
    refused = pytest.raises(AlphaError, match="no position between the two ends.* Ask for 3 positions or more")
    with refused:
        probe(start, end, evaluator, options=options)
    with refused:
        between({"a": start, "b": end}, evaluator, options=options)


def test_equal_networks_have_a_flat_line(images: Images) -> None:
    net = ConvNet()
    state = lived_in(net, images[0], 0)
    found = between({"a": state, "b": state}, Evaluator(net, {"test": images}), options=ScanOptions(alphas=3))
    assert found.distances["a to b"].total == 0
    assert len(np.unique(found.curves["a to b"]["test", "cross_entropy"].mean)) == 1


def test_networks_may_be_modules_and_state_dicts(images: Images) -> None:
    nets = {}
    for seed in (1, 2, 3):
        nets[f"n{seed}"] = ConvNet()
        lived_in(ConvNet(), images[0], seed).load_into(nets[f"n{seed}"])
    evaluator = Evaluator(ConvNet(), {"test": images})
    options = ScanOptions(alphas=3)
    states = {name: State.from_module(net) for name, net in nets.items()}
    dicts = {name: net.state_dict() for name, net in nets.items()}
    expected = between(states, evaluator, options=options).frame()
    assert between(nets, evaluator, options=options).frame().equals(expected)
    assert between(dicts, evaluator, options=options).frame().equals(expected)
    one = probe(states["n1"], states["n3"], evaluator, options=options).frame()
    assert probe(nets["n1"], dicts["n3"], evaluator, options=options).frame().equals(one)
    assert one.drop("line").equals(expected.filter(expected["line"] == "n1 to n3").drop("line"))
    with pytest.raises(StateError, match="The network 'b' is a str"):
        between({"a": nets["n1"], "b": "n2.pt"}, evaluator)  # type: ignore[dict-item]


def test_a_module_that_computes_something_else_is_refused(images: Images) -> None:
    evaluator = Evaluator(ConvNet(), {"test": images})
    other = ConvNet()
    other.register_forward_hook(lambda module, inputs, outputs: outputs * 2)
    for ends in ((ConvNet(), other), (other, ConvNet())):
        with pytest.raises(EndsError, match="they compute different things"):
            probe(*ends, evaluator)
    with pytest.raises(EndsError, match="they compute different things"):
        between({"a": ConvNet(), "b": other}, evaluator)


def test_the_frame_of_a_probe_names_its_lines(images: Images) -> None:
    states = {f"n{seed}": lived_in(ConvNet(), images[0], seed) for seed in (1, 2, 3)}
    found = between(states, Evaluator(ConvNet(), {"test": images}), options=ScanOptions(alphas=3))
    frame = found.frame()
    assert frame.columns[0] == "line"
    assert frame["line"].unique(maintain_order=True).to_list() == ["n1 to n3", "n2 to n3"]
    assert len(found.to_pandas()) == len(frame) == 2 * 2 * 3
    assert repr(found) == "Probe(n1 to n3, n2 to n3: Curve(3 positions; test; cross_entropy, error; interpolate))"


def test_what_is_given_in_place_of_an_evaluator_or_networks_is_named(images: Images) -> None:
    net, other, evaluator = ConvNet(), ConvNet(), Evaluator(ConvNet(), {"test": images})
    with pytest.raises(RecipeError, match=r"The evaluator is a tuple. Give an Evaluator.*compare\("):
        probe(net, other, images)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="The evaluator is a dict"):
        between({"a": net, "b": other}, {"test": images})  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="The value of groups is a list"):
        probe(net, other, evaluator, ["fc.weight"])  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="The value of states is a list"):
        between([net, other], evaluator)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"The path is a ConvNet.*Line\("):
        Only(net, ["conv1.weight"])  # type: ignore[arg-type]
    with pytest.raises(GroupError, match=r"Give a list of names: \['fc.weight'\]"):
        Only(Line(net, other), "fc.weight")


def test_paths_beside_the_line_are_measured_with_it(images: Images) -> None:
    net = ConvNet()
    start, end = (lived_in(net, images[0], seed) for seed in (1, 2))
    evaluator, options = Evaluator(net, {"test": images}), ScanOptions(alphas=5)
    arc = Slerp(start, end)
    found = probe(start, end, evaluator, options=options, beside={"slerp": arc})
    own = scan(arc, evaluator, options)
    assert list(found.curves) == ["whole"]
    for key, values in own.values.items():
        np.testing.assert_array_equal(found.beside["slerp"].values[key], values)
        np.testing.assert_array_equal(found.curves["whole"].values[key][[0, -1]], values[[0, -1]])
        assert not np.array_equal(found.curves["whole"].values[key][2], values[2])
    assert {line for line, *_ in found.statistics} == {"whole", "slerp"}
    with pytest.raises(GroupError, match="Give it another name"):
        probe(start, end, evaluator, options=options, beside={"whole": arc})
