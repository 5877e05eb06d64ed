"""Many architectures of timm and transformers, small and drawn at random: is the engine right, and what does it cost?

    python -m benchmarks.architectures [--only NAME] [--examples 6] [--alphas 9]

Each line is walked by plain calls and by the engine, in one thread, and seconds are of the processor, so that whatever
else the machine does changes them little. "Set-up" is how much longer the engine takes for the first position than for
the others, less the same of plain calls, which check the network too. "At a position" compares the medians of all
positions but the first, "whole line" all that a user waits for, with set-up and checks, which weigh much on so few
examples.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from tests.support import optional
from torch import Tensor, nn

from benchmarks import results
from linescape.errors import first_line
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, walk

Case = tuple[Callable[[], nn.Module], Callable[[int], Any]]
"""Draws a network; so many examples for it."""

CLASSES, WORDS, LENGTH = 5, 97, 24

CONVOLUTIONS = [
    "resnet18", "resnet26d", "resnext26ts", "seresnext26t_32x4d", "mobilenetv3_small_050", "mobilenetv2_050",
    "efficientnet_lite0", "regnetx_002", "regnety_002", "ghostnet_050", "mnasnet_small", "convnext_atto",
    "convnextv2_atto", "repvgg_a0", "dla34", "lcnet_035", "tinynet_e", "mobileone_s0", "fastvit_t8",
    "edgenext_xx_small", "mobilevit_xxs", "mobilevitv2_050", "poolformerv2_s12", "skresnet18", "test_byobnet",
    "test_resnet", "test_efficientnet", "repghostnet_050", "hgnetv2_b0",
]  # fmt: skip
ATTENTION = [
    "vit_tiny_patch16_224", "deit_tiny_patch16_224", "cait_xxs24_224", "swin_tiny_patch4_window7_224",
    "mixer_s32_224", "gmlp_ti16_224", "resmlp_12_224", "xcit_nano_12_p16_224", "eva02_tiny_patch14_224",
    "convit_tiny", "pit_ti_224", "visformer_tiny",
]  # fmt: skip
SIDE = 64

SIZE = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": WORDS,
    "intermediate_size": 128,
}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BASE = {**SIZE, **ENDS}
GATED = {**BASE, "num_key_value_heads": 2, "head_dim": 16}
OLD = {"vocab_size": WORDS, **ENDS}

CAUSAL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Phi3", "Olmo", "Olmo2", "Granite"), GATED
    ),
    **dict.fromkeys(("StableLm", "Starcoder2", "Cohere", "Glm", "SmolLM3", "Helium", "Phi", "Nemotron"), GATED),
    "GPTNeoX": {**SIZE, **ENDS},
    "GPTNeo": {
        **OLD,
        "hidden_size": 64,
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
    },
    "OPT": {
        **OLD,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "ffn_dim": 128,
        "word_embed_proj_dim": 64,
    },
    "Bloom": {**OLD, "hidden_size": 64, "n_layer": 4, "n_head": 4},
    "Falcon": {**OLD, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4},
    "GPTBigCode": {**OLD, "n_embd": 64, "n_layer": 4, "n_head": 4},
    "GPTJ": {**OLD, "n_embd": 64, "n_layer": 4, "n_head": 4, "rotary_dim": 8},
    "Mixtral": {**GATED, "num_local_experts": 4},
    "Mamba": {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": WORDS},
}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("Bert", "Roberta", "Electra", "DebertaV2", "MPNet", "ModernBert", "Camembert"), BASE),
    "Albert": {**SIZE, "embedding_size": 64},
    "DistilBert": {"dim": 64, "n_layers": 4, "n_heads": 4, "hidden_dim": 128, "vocab_size": WORDS},
}
CLASSIFIERS["ModernBert"] = {**BASE, "cls_token_id": 1, "sep_token_id": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--examples", type=int, default=6)
    parser.add_argument("--alphas", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    networks: dict[str, dict[str, object]] = {}
    left_out = "" if find_spec("timm") else "the networks of timm, which is not installed"
    for name, (build, examples) in cases():
        if asked.only.lower() not in name.lower() or (left_out and name.startswith("timm ")):
            continue
        try:
            networks[name] = measured(build, examples(asked.examples), asked.alphas)
        except Exception as error:  # whatever a library has against a configuration of ours
            networks[name] = {"failed": first_line(error)[:200]}
        print(name, networks[name], flush=True)
        found = {"examples": asked.examples, "alphas": asked.alphas, "networks": networks, "left_out": left_out}
        results.write("architectures", found)
    if left_out:
        print(f"Left out: {left_out}.")


def cases() -> Iterator[tuple[str, Case]]:
    """The networks by name."""
    for name, settings in CAUSAL.items():
        yield f"{name}ForCausalLM", (partial(_of_transformers, name, "ForCausalLM", settings), _sentences)
    yield "GPT2LMHeadModel", (partial(_of_transformers, "GPT2", "LMHeadModel", CAUSAL["GPTBigCode"]), _sentences)
    for name, settings in CLASSIFIERS.items():
        head, several = "ForSequenceClassification", {**settings, "num_labels": CLASSES}
        yield f"{name}{head}", (partial(_of_transformers, name, head, several), _padded)
    for name in (*ATTENTION, *CONVOLUTIONS):
        yield f"timm {name}", (partial(_of_timm, name, {"img_size": SIDE} if name in ATTENTION else {}), _images)


def measured(build: Callable[[], nn.Module], data: Any, alphas: int) -> dict[str, object]:
    """What the engine makes of a line between two drawn networks, against plain calls (JSON-able)."""
    ends = []
    for number in range(2):
        torch.manual_seed(number)
        network = _drawn(build().eval())
        ends.append(State.from_module(network))
    line, options = Line(*ends), ScanOptions(alphas=alphas, progress=False)
    means, seconds, of_positions, notes = {}, {}, {}, []
    for fast in (False, True):
        times = [time.process_time()]
        evaluator = Evaluator(network, {"test": data}, measures=["cross_entropy"], fast=fast)
        points = []
        for point in walk(line, evaluator, options):
            points.append(point)
            times.append(time.process_time())
        curve = collect(points, line, evaluator)
        seconds[fast] = time.process_time() - times[0]
        of_positions[fast] = np.diff(times).tolist()
        means[fast] = curve["test", "cross_entropy"].values.astype(float).mean(1)
        notes = [note for note in curve.provenance["notes"] if "as it is" in note]
    usual = {fast: statistics.median(of_positions[fast][1:]) for fast in (False, True)}
    first = {fast: of_positions[fast][0] - usual[fast] for fast in (False, True)}
    return {
        "deviation": float(np.max(np.abs(means[True] - means[False]) / np.abs(means[False]))),
        "graph": not notes,
        "why_not": notes[0].partition(": ")[2] if notes else "",
        "parameters": sum(value.numel() for value in network.parameters()),
        "set_up_seconds": round(first[True] - first[False], 3),
        "ratio_at_a_position": round(usual[False] / usual[True], 2),
        "ratio_of_the_line": round(seconds[False] / seconds[True], 2),
    }


def _drawn(network: nn.Module) -> nn.Module:
    """The network with weights so large that each layer matters to the outputs."""
    for name, value in network.named_parameters():
        if value.ndim > 1 and "position" not in name:
            value.data.normal_(0.0, value[0].numel() ** -0.5)
    return network


def _of_timm(name: str, settings: dict[str, Any]) -> nn.Module:
    network: nn.Module = optional.load("timm").create_model(name, num_classes=CLASSES, **settings)
    return network


def _of_transformers(name: str, head: str, settings: dict[str, Any]) -> nn.Module:
    transformers = optional.load("transformers")
    network: nn.Module = getattr(transformers, f"{name}{head}")(getattr(transformers, f"{name}Config")(**settings))
    return network


def _images(count: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, SIDE, SIDE, generator=random), torch.randint(0, CLASSES, (count,), generator=random)


def _words(count: int) -> Tensor:
    return torch.randint(3, WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(0))


def _sentences(count: int) -> Any:
    words = _words(count)
    return [{"input_ids": words, "labels": words.clone()}]


def _padded(count: int) -> Any:
    words = _words(count)
    lengths = LENGTH - torch.arange(count) % 5
    mask = (torch.arange(LENGTH) < lengths.unsqueeze(1)).long()
    return [{"input_ids": words * mask, "attention_mask": mask, "labels": torch.arange(count) % CLASSES}]


if __name__ == "__main__":
    main()
