"""Networks as libraries make, wrap and place them, looked for with fresh eyes."""

# mypy: disable-error-code="name-defined, call-overload, misc, no-untyped-call, attr-defined, operator, no-any-return"

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.support.fresh_data import compared
from tests.support.further_networks import Body, right
from tests.support.optional import load
from tests.support.situations import Answer, Case, anew, cross_entropy, examples, pair, situation, walked


@situation
def parameters_in_odd_memory(_folder: Path) -> Iterator[Case]:
    class Flat(Body):
        """Its parameters are views of one tensor, as apex, DeepSpeed and FSDP lay them."""

        def __init__(self) -> None:
            super().__init__()
            flat = torch.cat([value.detach().flatten() for value in self.parameters()])
            place = 0
            for value in self.parameters():
                value.data = flat[place : place + value.numel()].view_as(value)
                place += value.numel()

    class Transposed(Body):
        def __init__(self) -> None:
            super().__init__()
            self.first.weight = nn.Parameter(torch.randn(6, 5).t())

    class Expanded(Body):
        def __init__(self) -> None:
            super().__init__()
            self.first.bias = nn.Parameter(torch.randn(1).expand(5))

    class Overlapping(Body):
        def __init__(self) -> None:
            super().__init__()
            base = torch.randn(8)
            self.left, self.right = nn.Parameter(base[:5]), nn.Parameter(base[3:])

        def between(self, x: Any) -> Any:
            return (x * self.left + self.right).tanh()

    class Subclass(torch.Tensor):
        pass

    class Subclassed(Body):
        def __init__(self) -> None:
            super().__init__()
            self.first.weight = nn.Parameter(torch.randn(5, 6).as_subclass(Subclass))

    for kind in (Flat, Transposed, Subclassed):
        yield from right(kind, kind.__name__)
    data = examples()
    for odd in (Expanded, Overlapping):
        start, end = pair(odd)
        make = Body if odd is Expanded else odd  # torch loads nothing into an expanded tensor
        expected = anew(make, start, end, cross_entropy(*data))
        for copied in (True, False):
            yield Case(
                f"{odd.__name__}, copy={copied}",
                lambda: walked(start, end, data, copy=copied),
                expected if copied or odd is not Expanded else None,
            )
    start, end = pair(Body)
    expected = anew(Body, start, end, cross_entropy(*data))
    inputs = data[0].as_subclass(Subclass)
    yield Case("inputs of another class", lambda: walked(start, end, (inputs, data[1])), expected)
    yield Case("batches of another class", lambda: walked(start, end, [(inputs, data[1])]), expected)
    yield from right(Conv, "channels last")


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, (1, 3)).to(memory_format=torch.channels_last), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        pictures = x.view(-1, 2, 1, 3).contiguous(memory_format=torch.channels_last)
        return self.head(self.conv(pictures).flatten(1))


@situation
def placed_by_accelerate(folder: Path) -> Iterator[Case]:
    accelerate = load("accelerate")
    start, end = pair(Body)
    data = examples()
    expected = anew(Body, start, end, cross_entropy(*data))
    offloaded = copy.deepcopy(start)
    accelerate.cpu_offload(offloaded, execution_device=torch.device("cpu"))
    yield Case("offloaded weights", lambda: walked(offloaded, end, data), None)
    on_disk = copy.deepcopy(start)
    accelerate.disk_offload(on_disk, folder / "offload", execution_device=torch.device("cpu"))
    yield Case("weights on disk", lambda: walked(on_disk, end, data), None)
    hooked = copy.deepcopy(start)
    accelerate.hooks.add_hook_to_module(hooked, accelerate.hooks.AlignDevicesHook("cpu", io_same_device=True))
    other = copy.deepcopy(end)
    accelerate.hooks.add_hook_to_module(other, accelerate.hooks.AlignDevicesHook("cpu", io_same_device=True))
    for fast in (None, True):
        yield Case(f"hooked, fast={fast}", lambda: walked(hooked, other, data, fast=fast), expected)


@situation
def lightning_modules(_folder: Path) -> Iterator[Case]:
    lightning = load("lightning")
    metrics = load("torchmetrics")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.network, self.accuracy = Body(), metrics.Accuracy("multiclass", num_classes=3)
            self.example_input_array = torch.zeros(2, 6)

        def forward(self, x: Any) -> Any:
            outputs = self.network(x)
            self.accuracy(outputs, torch.zeros(len(x), dtype=torch.long))
            return outputs

    yield from right(Module, "with a metric that counts")


@situation
def models_of_libraries(folder: Path) -> Iterator[Case]:
    transformers = load("transformers")
    transformers.logging.set_verbosity_error()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 50, (6, 8), generator=generator)
    common: dict[str, Any] = {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "num_key_value_heads": 2, "max_position_embeddings": 32,
    }  # fmt: skip
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "tied": ("LlamaForCausalLM", "LlamaConfig", {**common, "tie_word_embeddings": True}),
        "a cache": ("LlamaForCausalLM", "LlamaConfig", {**common, "use_cache": True}),
        "experts": ("MixtralForCausalLM", "MixtralConfig", {**common, "num_local_experts": 3}),
        "capped logits": ("Gemma2ForCausalLM", "Gemma2Config", {**common, "head_dim": 8}),
        "a state space": ("MambaForCausalLM", "MambaConfig", {"vocab_size": 50, "hidden_size": 16}),
    }  # fmt: skip

    def made(model: str, config: str, settings: dict[str, Any]) -> Any:
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()

    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens.clone()}

    def own(network: Any) -> float:
        with torch.no_grad():
            return float(network(**batch).loss)

    for name, (model, config, settings) in kinds.items():
        start, end = pair(lambda m=model, c=config, s=settings: made(m, c, s))
        ends = [own(start), own(end)]

        def at_ends(start: Any = start, end: Any = end) -> Answer:
            means, notes = compared(start, end, [batch])
            return [float(means[0]), float(means[-1])], notes

        yield Case(f"{name}, at both ends", at_ends, ends)
    model, config, settings = kinds["experts"]
    routed = {**settings, "output_router_logits": True, "router_aux_loss_coef": 5.0}
    start, end = pair(lambda: made(model, config, routed))

    def with_aux() -> Answer:
        means, notes = compared(start, end, [batch])
        return [float(means[0]), float(means[-1])], notes

    yield Case("experts and their auxiliary loss", with_aux, None)
    small: dict[str, Any] = {**common, "hidden_size": 16}
    counts = ({"num_attention_heads": count, "num_key_value_heads": count} for count in (2, 4))
    heads = [made("LlamaForCausalLM", "LlamaConfig", {**small, **count}) for count in counts]
    for name, network in zip("ab", heads, strict=True):
        network.save_pretrained(folder / name)
    yield Case("modules with other numbers of heads", lambda: compared(heads[0], heads[1], [batch]), None)

    def folders() -> Answer:
        notes = compared(folder / "a", folder / "b", [batch], model=heads[0])[1]
        return [float(any("config" in note or "heads" in note for note in notes))], notes

    yield Case("folders with other numbers of heads", folders, [1.0])
    vision = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    start, end = pair(lambda: transformers.ViTForImageClassification(vision).eval())
    pictures = torch.randn(5, 3, 8, 8, generator=generator)
    labels = torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        ends = [float(network(pixel_values=pictures, labels=labels).loss) for network in (start, end)]

    def seen() -> Answer:
        means, notes = compared(start, end, [{"pixel_values": pictures, "labels": labels}])
        return [float(means[0]), float(means[-1])], notes

    yield Case("ViT", seen, ends)
