"""A call of a network as a graph, by doing it and writing down which of torch's functions it calls.

Any code can be recorded, as it runs with real values: control flow and shapes are those of this call. What they may
depend on is watched. Code that reads values which depend on weights is refused. What code asks of the inputs alone,
such as whether a mask hides anything, is kept with its answers, and the graph serves only calls with the same answers.
That leaves the number of examples, for which there is `growth`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import EllipsisType
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from linescape.engine.flops import DispatchObserver
from linescape.engine.graph import Call, NotExportable, attributes_kept, draws, without_inplace
from linescape.errors import MeasureError

OF_SHAPE = frozenset(
    [
        *("shape", "size", "dim", "ndim", "ndimension", "numel", "nelement", "__len__", "stride", "is_contiguous"),
        *("dtype", "itemsize", "element_size", "nbytes", "is_floating_point", "is_complex", "is_signed", "layout"),
        *("device", "get_device", "is_cpu", "is_cuda", "is_meta", "is_mps", "is_xpu", "is_sparse", "is_quantized"),
        *("is_nested", "is_mkldnn", "is_inference", "is_conj", "is_neg", "requires_grad", "is_leaf", "grad_fn"),
        "__hash__",
    ]
)
"""What may be asked of a tensor without reading its values."""

SIMPLE = (int, float, complex, bool, str, type(None), EllipsisType, torch.dtype, torch.device, torch.layout)
"""Types of what may be returned as it is, beside tensors."""

_IN_GRAPHS = (*SIMPLE, torch.memory_format)


class LeftOut:
    """Stands where a network returns what a graph does not compute, such as the cache of a language model."""

    def __init__(self, kind: type) -> None:
        object.__setattr__(self, "_kind", kind.__name__)

    def _refuse(self, *_: Any) -> Any:
        raise MeasureError(
            f"`forward` reads a {object.__getattribute__(self, '_kind')} that the network returns, which is not there "
            "when the network is called as a graph. Use its tensors alone, or pass fast=False."
        )

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name) if name.startswith("__") or name == "_refuse" else self._refuse()

    __call__ = __getitem__ = __iter__ = __len__ = __bool__ = __eq__ = __contains__ = __setattr__ = _refuse
    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Recording:
    """What one call did.

    Attributes:
        graph: its placeholders are `weights` and `constants`, then the call's tensors; it returns tensors in a tuple.
        weights: placeholder -> the name of a parameter or buffer.
        constants: placeholder -> a tensor that the network holds otherwise.
        inputs: placeholders of the call's tensors, in order.
        outputs: what the call returned, as leaves, with `Tensor` in place of each tensor.
        spec: how these leaves are put together.
        questions: nodes whose values, which depend on inputs alone, the code has read.
        answers: these values.
    """

    graph: fx.Graph
    weights: Mapping[str, str]
    constants: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[object, ...]
    spec: pytree.TreeSpec
    questions: tuple[fx.Node, ...]
    answers: tuple[object, ...]

    def asks(self) -> fx.GraphModule | None:
        """A function of the call's tensors that gives the answers; None where there are no questions."""
        if not self.questions:
            return None
        needed = set(self.questions)
        for node in reversed(self.graph.nodes):
            needed |= set(node.all_input_nodes) if node in needed else set()
        asking = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node in needed or node.name in self.inputs:
                copied[node] = asking.node_copy(node, copied.__getitem__)
        asking.output(tuple(copied[node] for node in self.questions))
        return fx.GraphModule({}, asking)


def record(
    network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], answers: tuple[object, ...] | None = None
) -> Recording:
    """Call a network and record what it does.

    Args:
        network: in eval mode.
        args: of the call.
        kwargs: of the call.
        answers: told to code that reads values of the inputs, in place of these, so that it does as in another call.

    Raises:
        NotExportable: it reads the values of tensors, draws random numbers, writes to weights, sets attributes, or
            computes with what is unknown.
    """
    own_args, own_kwargs = pytree.tree_map_only(Tensor, torch.clone, (args, dict(kwargs)))  # which it may write to
    call = Call.of(own_args, own_kwargs)
    recorder = _Recorder(network, call.tensors, answers)
    with torch.no_grad(), attributes_kept(network), without_inplace(network):
        try:
            with _Watch(recorder), recorder:
                outputs = network(*own_args, **own_kwargs)
        except NotExportable:
            raise
        except Exception as error:  # whatever the network's code raises where it may have caught ours before
            raise NotExportable(recorder.refused or f"its call cannot be recorded ({error})") from error
    if recorder.refused:
        raise NotExportable(recorder.refused)
    return recorder.recording(outputs)


class _Recorder(TorchFunctionMode):
    def __init__(self, network: nn.Module, inputs: tuple[Tensor, ...], answers: tuple[object, ...] | None) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.refused: str | None = None
        self.running: Literal["on constants", "on inputs", "on weights"] | None = None
        self._told = None if answers is None else iter(answers)
        self._questions: list[fx.Node] = []
        self._answers: list[object] = []
        self._held = _held(network)
        self._weights: dict[str, str] = {}
        self._constants: dict[str, Tensor] = {}
        self._nodes: Any = WeakTensorKeyDictionary()  # tensor -> its node; None once it was written to by another name
        self._depends: dict[fx.Node, Literal["on inputs", "on weights"]] = {}
        self._device = next((tensor.device.type for tensor in (*inputs, *network.parameters())), "cpu")
        self._autocast = self._casts()
        self._inputs: list[fx.Node] = []
        for tensor in inputs:
            self._inputs.append(self.graph.placeholder(f"input_{len(self._inputs)}"))
            self._nodes[tensor] = self._inputs[-1]
        self._depends.update(dict.fromkeys(self._inputs, "on inputs"))

    def refuse(self, reason: str) -> NotExportable:
        """The error to raise; kept, as the network's code may catch it."""
        self.refused = self.refused or reason
        return NotExportable(self.refused)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.__iter__:
            with self:
                return iter(args[0].unbind(0))
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        nodes = [self._node(tensor) for tensor in given]
        versions = [tensor._version for tensor in given]
        outer, self.running = self.running, self._dependence(nodes)
        try:
            result = func(*args, **kwargs)
            reads = self.running
        finally:
            self.running = outer
        written = [tensor for tensor, version in zip(given, versions, strict=True) if tensor._version != version]
        if written:
            self._write(func, args, kwargs, written)
        elif any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(result)):
            self._call(func, args, kwargs, result)
        elif given and getattr(func, "__name__", None) == "__set__":
            raise self.refuse(f"it sets {name_of(func)} of a tensor")
        elif reads != "on constants" and name_of(func) not in OF_SHAPE:
            return self._answer(func, args, kwargs, result)
        return result

    def _dependence(self, nodes: Iterable[fx.Node]) -> Literal["on constants", "on inputs", "on weights"]:
        kinds = {self._depends[node] for node in nodes if node in self._depends}
        return "on weights" if "on weights" in kinds else "on inputs" if kinds else "on constants"

    def _answer(self, func: Any, args: Any, kwargs: Any, value: Any) -> Any:
        """The value that the network's code reads."""
        node = self._add(func, args, kwargs)
        if self._depends[node] == "on weights" or not isinstance(value, bool | int | float):
            raise self.refuse(f"its code reads the values of tensors ({name_of(func)})")
        answer = value if self._told is None else next(self._told, None)
        if type(answer) is not type(value):
            raise self.refuse("its code asks something else of another number of examples")
        self._questions.append(node)
        self._answers.append(answer)
        return answer

    def _node(self, tensor: Tensor) -> fx.Node:
        if tensor not in self._nodes:
            self._nodes[tensor] = self._placeholder(tensor)
        node = self._nodes[tensor]
        if node is None:
            raise self.refuse("it writes to a tensor and then reads it by another name")
        return cast(fx.Node, node)

    def _placeholder(self, tensor: Tensor) -> fx.Node:
        """A placeholder for a tensor that the network holds."""
        if id(tensor) not in self._held:
            raise self.refuse("it computes with a tensor that neither it nor the call holds")
        name, is_state = self._held[id(tensor)]
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node = self.graph.placeholder(f"held_{len(self._weights) + len(self._constants)}")
        if is_state:
            self._weights[node.name] = name
        else:
            self._constants[node.name] = tensor
        self._depends[node] = "on weights"
        return node

    def _casts(self) -> tuple[object, ...]:
        return torch.is_autocast_enabled(self._device), torch.get_autocast_dtype(self._device)

    def _call(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if isinstance(result, Tensor) and result in self._nodes:
            return  # an argument as it is, such as from a dropout that is switched off
        if func is torch.cat and not kwargs.get("out") and len(pieces := _not_empty(args, kwargs)) == 1:
            self._nodes[result] = self._node(pieces[0])  # a cache that held nothing yet
            return
        self._results(self._add(func, args, kwargs), result)

    def _results(self, node: fx.Node, result: Any) -> None:
        if isinstance(result, Tensor):
            if type(result) not in (Tensor, nn.Parameter):
                raise self.refuse(f"it computes with a {type(result).__name__}")
            if result not in self._nodes:
                self._nodes[result] = node
        elif isinstance(result, tuple | list):
            for place, part in enumerate(result):
                if part is not None:
                    item = self.graph.call_function(operator.getitem, (node, place))
                    self._note_dependence(item)
                    self._results(item, part)
        else:
            raise self.refuse(f"a function gives a {type(result).__name__}, which no graph can hold")

    def _add(self, func: Any, args: Any, kwargs: Any) -> fx.Node:
        if self._casts() != self._autocast:
            raise self.refuse("it switches torch.autocast on or off")
        args, kwargs = (fx.node.map_aggregate(given, self._argument) for given in (args, kwargs))
        if _described(func) is not func:
            node = self.graph.call_function(getattr, (args[0], name_of(func)))
        elif (method := _method(func)) is not None:
            node = self.graph.call_method(method, args, kwargs)
        else:
            node = self.graph.call_function(func, args, kwargs)
        self._note_dependence(node)
        return node

    def _note_dependence(self, node: fx.Node) -> None:
        if (dependence := self._dependence(node.all_input_nodes)) != "on constants":
            self._depends[node] = dependence

    def _argument(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return self._node(leaf)
        if not isinstance(leaf, _IN_GRAPHS):
            raise self.refuse(f"it calls a function of torch with a {type(leaf).__name__}")
        return leaf

    def _write(self, func: Any, args: Any, kwargs: Any, written: list[Tensor]) -> None:
        """A function that writes to its first argument, as one that writes to a copy and returns it."""
        tensor = written[0]
        address = tensor.untyped_storage().data_ptr()
        if len(written) > 1 or not args or args[0] is not tensor:
            raise self.refuse(f"it writes to an argument of {name_of(func)}")
        if address in {value.untyped_storage().data_ptr() for value in self._held_values()}:
            raise self.refuse("it writes to a tensor of the network")
        node = self._add(_on_copy(func), args, kwargs)
        for other in list(self._nodes):
            if other.untyped_storage().data_ptr() == address:
                self._nodes[other] = None
        self._nodes[tensor] = node

    def _held_values(self) -> Iterator[Tensor]:
        yield from (tensor for tensor in self._nodes if id(tensor) in self._held)

    def recording(self, outputs: Any) -> Recording:
        """What was recorded of a call that returned these outputs.

        Raises:
            NotExportable: they hold no tensor, or one that is unknown.
        """
        leaves, spec = pytree.tree_flatten(outputs)
        nodes = tuple(self._node(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        if not nodes:
            raise NotExportable("the network returns something else than tensors")
        self.graph.output(nodes)
        others = tuple(
            Tensor if isinstance(leaf, Tensor) else leaf if isinstance(leaf, SIMPLE) else LeftOut(type(leaf))
            for leaf in leaves
        )
        inputs = tuple(node.name for node in self._inputs)
        return Recording(
            self.graph,
            self._weights,
            self._constants,
            inputs,
            others,
            spec,
            tuple(self._questions),
            tuple(self._answers),
        )


class _Watch(DispatchObserver):  # type: ignore[no-untyped-call]
    """Refuses what the functions of a recording do in secret."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.recorder.running is None:
            raise self.recorder.refuse(f"it computes where it cannot be watched ({func})")
        if draws(func, args, kwargs or {}):
            raise self.recorder.refuse(f"it draws random numbers ({func})")
        read = torch.Tag.data_dependent_output in func.tags and self.recorder.running == "on weights"
        if read or (_shaped_by_values(func, args) and self.recorder.running != "on constants"):
            raise self.recorder.refuse(f"its control flow or shapes depend on values ({func})")
        return func(*args, **(kwargs or {}))


def _shaped_by_values(func: Any, args: Any) -> bool:
    """Whether the shape of an operation's result depends on values."""
    if func is torch.ops.aten.index.Tensor:
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


def _held(network: nn.Module) -> dict[int, tuple[str, bool]]:
    """id -> name and whether it is a parameter or buffer, of the tensors that a network holds."""
    state = {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }
    others = [
        leaf for layer in network.modules() for leaf in pytree.tree_leaves(vars(layer)) if isinstance(leaf, Tensor)
    ]
    return {id(leaf): ("", False) for leaf in others} | {id(value): (name, True) for name, value in state.items()}


def name_of(func: Any) -> str:
    """The name of a function of torch, or of the attribute that it gets or sets."""
    return str(getattr(_described(func), "__name__", func))


def _method(func: Any) -> str | None:
    """The name of a method of tensors; ``x ** 2`` calls one that is named ``__pow__`` but calls itself ``pow``."""
    names = (name_of(func), f"__{name_of(func)}__")
    return next((name for name in names if getattr(Tensor, name, None) is func), None)


def _described(func: Any) -> Any:
    """What stands for a function: the attribute of a tensor that it gets or sets, or itself."""
    owner = func.__self__ if getattr(func, "__name__", None) in ("__get__", "__set__") else func
    return owner.fget if isinstance(owner, property) else owner


def _not_empty(args: Any, kwargs: Any) -> list[Tensor]:
    pieces = args[0] if args else kwargs.get("tensors", ())
    return [piece for piece in pieces if piece.shape != (0,)]


@cache
def _on_copy(func: Callable[..., Any]) -> Callable[..., Any]:
    def on_copy(first: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copied = first.clone()
        func(copied, *args, **kwargs)
        return copied

    on_copy.__name__ = f"{name_of(func)}_on_copy"
    return on_copy
