"""A walk with the engine against one by plain calls, over many kinds of networks, data and types."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape import models, recipe
from linescape.engine.fast import _as_kept
from linescape.engine.flops import DispatchObserver
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support import optional
from tests.support.engine import (
    ALPHAS,
    assert_close,
    compared,
    drawn,
    kept_bytes,
    labels,
    line_of,
    lines,
    noted,
    state,
    surprise,
    tokens,
)
from tests.support.engine_networks import NETWORKS, VECTORS, Branching, Head, Writer, small
from tests.support.no_float64 import there


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_gives_the_curve_of_plain_calls(name: str) -> None:
    build, inputs = NETWORKS[name]
    net = build().eval()
    net(inputs[:2])
    whole = line_of(net, inputs)
    data = {"train": (inputs, labels(40)), "test": (inputs[30:39], labels(9))}
    plain, fast = (Evaluator(net, data, batch_size=16, fast=fast) for fast in (False, True))
    for where, path in lines(net, whole).items():
        expected, found = (
            scan(path, ev, ScanOptions(alphas=ALPHAS, batchnorm=batchnorm.TREATMENTS)) for ev in (plain, fast)
        )
        assert not noted(found), where
        assert fast.engine.batch_invariant, where
        assert_close(found, expected)


def test_forward_may_call_twice_or_a_part_or_a_layer_by_its_number() -> None:
    def twice(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0]) + model(batch[0].flip(1)), batch[1]

    def halves(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return torch.cat([model(half) for half in batch[0].chunk(2)]), batch[1]

    def part(model: Any, batch: Any) -> tuple[Any, Any]:
        hidden = model[0](batch[0]).tanh()
        return model(batch[0]) + model[2](hidden), batch[1]

    def by_mode(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0]) * (2 if model.training else 1), batch[1]

    net = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)).eval()
    whole = line_of(net, VECTORS)
    for forward in (twice, halves, part, by_mode):
        for path in lines(net, whole).values():
            assert not noted(compared(path, net, (VECTORS, labels(40)), forward=forward, batch_size=16))


def test_one_evaluator_measures_several_data_sets_of_one_size() -> None:
    net, whole, (inputs, targets) = small()
    data = {"a": (inputs, targets), "b": (inputs.flip(0), targets.flip(0))}
    tail = Only(whole, [name for name in whole.end if name.startswith("fc")])
    curve = scan(tail, Evaluator(net, data, fast=True), ScanOptions(alphas=3))
    assert np.allclose(curve["a", "cross_entropy"].values, curve["b", "cross_entropy"].values[:, ::-1], rtol=1e-4)


def test_batches_may_be_of_one_example_or_uneven() -> None:
    net = nn.Sequential(nn.Linear(12, 70), nn.BatchNorm1d(70), nn.ReLU(), nn.Linear(70, 3)).eval()
    whole = line_of(net, VECTORS)
    for sizes in ([1] * 3, [2, 1, 3], [9, 1], [16, 16, 8]):
        batches, at = [], 0
        for size in sizes:
            batches.append((VECTORS[at : at + size], labels(40)[at : at + size]))
            at += size
        compared(Only(whole, ["3.weight"]), net, batches)
    for size in (1, 3, 39):
        compared(Only(whole, ["0.weight", "3.bias"]), net, (VECTORS, labels(40)), batch_size=size)


def test_a_language_model_is_a_graph_and_its_lower_layers_are_kept() -> None:
    torch.manual_seed(0)
    net = Writer().eval()
    words = tokens(20, 6)
    whole = line_of(net, words)
    data = {"d": (words, words.roll(-1, 1))}
    plain, fast = (Evaluator(net, data, [surprise], batch_size=8, fast=fast) for fast in (False, True))
    last = [name for name in whole.end if name.startswith("blocks.1")]
    for path in (whole, Only(whole, last), Only(whole, ["norm.weight"]), Only(whole, ["head.weight"])):
        found = scan(path, fast, ScanOptions(alphas=ALPHAS))
        assert not noted(found)
        assert_close(found, scan(path, plain, ScanOptions(alphas=ALPHAS)))
        if path is not whole and "norm.weight" in path.moving:
            assert kept_bytes(fast.engine) >= 20 * 6 * 16 * 4
    assert kept_bytes(fast.engine) < 20 * 6 * 16  # tied, the head moves the embedding too: only places are kept


@pytest.mark.parametrize("kind", ["Bert", "GPT2", "Llama"])
def test_models_of_transformers(kind: str) -> None:
    transformers = optional.load("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    short = {"n_embd": 16, "n_layer": 2, "n_head": 2}
    config = getattr(transformers, f"{kind}Config")(vocab_size=11, **(short if kind == "GPT2" else sizes))
    name = (
        "BertForSequenceClassification" if kind == "Bert" else f"{kind}{'LMHead' if kind == 'GPT2' else 'ForCausalLM'}"
    )
    name = "GPT2LMHeadModel" if kind == "GPT2" else name
    torch.manual_seed(0)
    net = getattr(transformers, name)(config).eval()
    words = tokens(9, 6)
    targets = labels(9, 2) if kind == "Bert" else words.roll(-1, 1)
    batches = [{"input_ids": words, "attention_mask": torch.ones(9, 6, dtype=torch.long), "labels": targets}]
    whole = Line(state(net, 1), state(net, 2))
    measure = cross_entropy if kind == "Bert" else surprise
    for path in (whole, Only(whole, [list(whole.end)[-1]])):
        compared(path, net, batches, measures=[measure])


def test_bfloat16_is_near_and_says_how_far_it_is() -> None:
    net, whole, data = small()
    for model in (net, Head(), Branching()):
        given = data if model is net else (VECTORS, labels(40))
        path = whole if model is net else Line(State.from_module(Head()), State.from_module(Head()))
        exact = scan(path, Evaluator(model, {"d": given}, fast=False), ScanOptions(alphas=ALPHAS))
        found = scan(path, Evaluator(model, {"d": given}, precision="bfloat16"), ScanOptions(alphas=ALPHAS))
        np.testing.assert_allclose(found["cross_entropy"].mean, exact["cross_entropy"].mean, rtol=0.05)
        assert not np.array_equal(found["cross_entropy"].values, exact["cross_entropy"].values)
        assert found.provenance["precision"] == "bfloat16"
        assert 0 < found.provenance["deviation_from_full_precision"]["d/cross_entropy"]["mean"] < 0.1


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-10), (torch.bfloat16, 0.02)])
def test_other_types_are_computed_in_themselves(dtype: torch.dtype, relative: float) -> None:
    net, whole, (inputs, targets) = small()
    net, inputs = net.to(dtype), inputs.to(dtype)
    ends = [
        State.from_module(net).replace({n: v.to(State.from_module(net)[n].dtype) for n, v in s.items()})
        for s in (whole.start, whole.end)
    ]
    for path in (Line(*ends), Only(Line(*ends), ["fc.weight", "conv1.weight"])):
        found = compared(path, net, (inputs, targets), relative, measures=[cross_entropy])
        assert found.provenance["dtype"] == str(dtype).removeprefix("torch.")
        assert not noted(found)


def test_states_may_have_another_type_than_the_network() -> None:
    net, whole, (inputs, targets) = small()
    compared(Only(whole, ["fc.weight"]), copy.deepcopy(net).double(), (inputs.double(), targets))


def test_a_heavy_network_is_walked_with_its_weights_as_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    net = models.build(recipe.ResNet(depth=8, width=8), (3, 16, 16), 3)
    line, data = line_of(net, drawn(40, 3, 16, 16)), (drawn(40, 3, 16, 16), labels(40))
    monkeypatch.setattr("linescape.engine.fast.LIGHT", 1e4)
    weights = sum(value.nbytes for value in net.state_dict().values())
    for path in (line, Only(line, ["fc.weight", "fc.bias"])):
        curve = scan(path, Evaluator(net, {"test": data}, fast=True, memory=weights - 1), ScanOptions(alphas=ALPHAS))
        assert "so no faster copy of them was made" in curve.provenance["notes"][0]
        plain = scan(path, Evaluator(net, {"test": data}, fast=False), ScanOptions(alphas=ALPHAS))
        found, expected = (each["test", "cross_entropy"].values for each in (curve, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("of", [lambda x: x, there], ids=["cpu", "another device"])
def test_inputs_of_all_parts_are_compared_with_those_of_which_results_are_kept(
    of: Callable[[Tensor], Tensor],
) -> None:
    first, second = (drawn(3, 2, seed=1), tokens(3, 4)), (drawn(2, 2, seed=2), tokens(2, 4))
    held = {"first": tuple(map(of, first)), "second": tuple(map(of, second))}
    plan: Any = SimpleNamespace(kept=held, kept_of=held)

    def as_kept(*parts: tuple[Tensor, ...], keys: tuple[str, ...] = ("first", "second")) -> bool:
        return _as_kept(plan, keys, [tuple(of(tensor.clone()) for tensor in part) for part in parts])

    assert as_kept(first, second)
    assert as_kept(first, second, keys=("first", "unknown"))
    assert as_kept(first, second, keys=("unknown", "others"))
    assert not as_kept(second, first)
    assert not as_kept(first, (second[0], second[1] + 1))
    assert not as_kept(first, (second[0] * torch.nan, second[1]))


def test_another_device_is_waited_for_once_for_all_parts() -> None:
    parts = [tuple(map(there, (drawn(3, 2, seed=seed), tokens(3, 4)))) for seed in range(4)]
    held = dict(enumerate(parts))
    plan: Any = SimpleNamespace(kept=held, kept_of=held)
    observer = Reads()
    with observer:
        assert _as_kept(plan, list(held), parts)
    assert observer.count == 1


class Reads(DispatchObserver):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += torch.Tag.data_dependent_output in func.tags
        return func(*args, **(kwargs or {}))
