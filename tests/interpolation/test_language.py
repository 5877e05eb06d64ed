"""Real architectures of Hugging Face, small and briefly trained: lines, blocks, parts, padding, means over tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape import cli
from linescape.cli import specs
from linescape.errors import DataError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.forward import default_forward
from linescape.evaluation.measures import by_position, cross_entropy, error
from linescape.geometry import groups
from linescape.geometry.paths import Line, Only
from linescape.geometry.paths import Path as Way
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support import optional

Trained = tuple[nn.Module, State, State]

TEXT = (Path(__file__).parents[2] / "LICENSE").read_bytes()
ALPHAS = (0.0, 0.5, 1.0)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def trained(model: nn.Module, batch: Callable[[torch.Generator], dict[str, Tensor]], steps: int) -> Trained:
    start = State.from_module(model)
    random, optimizer = torch.Generator().manual_seed(0), torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        model(**batch(random)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return model, start, State.from_module(model)


@cache
def causal(kind: str) -> Trained:
    transformers = optional.load("transformers")
    torch.manual_seed(0)
    if kind == "Llama":
        config = transformers.LlamaConfig(vocab_size=256, max_position_embeddings=64, use_cache=False, **SIZES)
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.GPT2Config(
            vocab_size=256, n_positions=64, n_embd=32, n_layer=2, n_head=2, use_cache=False,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)

    def batch(random: torch.Generator) -> dict[str, Tensor]:
        at = torch.randint(len(TEXT) - 32, (8,), generator=random)
        tokens = torch.tensor([list(TEXT[i : i + 32]) for i in at.tolist()])
        return {"input_ids": tokens, "labels": tokens}

    return trained(model, batch, 40)


def sentences(count: int, random: torch.Generator) -> dict[str, Tensor]:
    """Whether more words are below 10 than above, in sentences of several lengths."""
    lengths = torch.randint(3, 13, (count, 1), generator=random)
    mask = (torch.arange(12) < lengths).long()
    words = torch.randint(1, 20, (count, 12), generator=random) * mask
    return {
        "input_ids": words,
        "attention_mask": mask,
        "labels": (((words < 10) & (mask == 1)).sum(1) * 2 > lengths.squeeze(1)).long(),
    }


@cache
def encoder() -> Trained:
    transformers = optional.load("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=20, max_position_embeddings=16, num_labels=2, **SIZES)
    return trained(transformers.BertForSequenceClassification(config), lambda random: sentences(32, random), 60)


def padded(lengths: list[int]) -> dict[str, Tensor]:
    """Pieces of the text with labels as Hugging Face has them: unshifted, nothing at padding and at a prompt."""
    words = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        words[row, :length] = torch.tensor(list(TEXT[40 * row : 40 * row + length]))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    labels = words.masked_fill(mask == 0, -100)
    labels[:, :2] = -100
    return {"input_ids": words, "attention_mask": mask, "labels": labels}


def places(path: Way) -> list[dict[str, Tensor]]:
    return [{name: path.tensor(name, alpha).clone() for name in path.template} for alpha in ALPHAS]


def plain(model: nn.Module, path: Way, batches: list[dict[str, Tensor]]) -> list[float]:
    """Mean loss over all tokens that count, by the model's own loss of each batch."""
    network: Any = model
    kept, found = State.from_module(model), []
    for tensors in places(path):
        network.load_state_dict(tensors, strict=False)
        total = count = 0.0
        with torch.no_grad():
            for batch in batches:
                tokens = (
                    int((batch["labels"][:, 1:] != -100).sum()) if batch["labels"].ndim == 2 else len(batch["labels"])
                )
                total += float(network(**batch).loss) * tokens
                count += tokens
        found.append(total / count)
    kept.load_into(model)
    return found


def fell_back(curve: Curve) -> list[str]:
    return [note for note in curve.provenance["notes"] if "called as it is" in note]


def means(curve: Curve) -> list[float]:
    return [float(value) for value in curve["cross_entropy", "interpolate"].mean]


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_lines_of_a_causal_model_are_means_over_its_tokens(kind: str) -> None:
    model, start, end = causal(kind)
    batches = [padded([20, 9, 14]), padded([20, 4, 4, 17])]
    evaluator = Evaluator(model, {"test": batches}, fast=True)
    line = Line(start, end)
    blocks = groups.by_block(model)
    attention = {"Llama": r"self_attn\.", "GPT2": r"\.attn\."}[kind]
    paths: dict[str, Way] = {"whole": line} | {
        label: Only(line, names)
        for label, names in {**blocks, **groups.by_pattern(model, {"attention": attention, "mlp": r"\.mlp\."})}.items()
    }
    assert {"Llama": "model.layers.1", "GPT2": "transformer.h.1"}[kind] in blocks
    assert "lm_head" not in blocks or kind == "Llama"  # tied to the embedding in GPT-2
    for label, path in paths.items():
        curve = scan(path, evaluator, ScanOptions(alphas=ALPHAS))
        assert means(curve) == pytest.approx(plain(model, path, batches), rel=1e-4), label
        assert not fell_back(curve), label
        assert curve.provenance["positions_per_example"] == {"test": (18 + 7 + 12 + 18 + 2 + 2 + 15) / 7}
    whole = scan(line, evaluator, ScanOptions(alphas=ALPHAS))["cross_entropy"]
    assert whole.perplexity.tolist() == pytest.approx(np.exp(plain(model, line, batches)), rel=1e-4)
    assert whole.perplexity[0] > 200  # of 256
    assert whole.perplexity[-1] < 60


def test_blocks_of_text_and_a_models_own_batches_are_one_measure(tmp_path: Path) -> None:
    model, start, end = causal("Llama")
    (tmp_path / "a.txt").write_bytes(TEXT)
    model.save_pretrained(tmp_path / "m")  # type: ignore[operator]
    found = specs.network_and_data(None, f"text:{tmp_path / 'a.txt'},length=32", None, tmp_path / "m")
    line = Line(start, end)
    curve = scan(line, Evaluator(*found[:2], fast=True), ScanOptions(alphas=ALPHAS))
    tokens = torch.tensor(list(TEXT))
    windows = tokens[: (len(tokens) - 1) // 32 * 32 + 1].unfold(0, 33, 32)
    batch = {"input_ids": windows, "labels": windows}
    assert len(found.data["test"]) == 3  # batches
    assert means(curve) == pytest.approx(plain(model, line, [batch]), rel=1e-4)
    assert means(scan(line, Evaluator(model, {"d": [batch]}, fast=False), ScanOptions(alphas=ALPHAS))) == pytest.approx(
        means(curve), 1e-4
    )
    assert not fell_back(curve)


def test_an_encoder_with_padding_masks() -> None:
    model, start, end = encoder()
    random = torch.Generator().manual_seed(1)
    batches = [sentences(20, random), sentences(20, random), sentences(11, random)]
    evaluator = Evaluator(model, {"test": batches}, fast=True)
    line = Line(start, end)
    chosen = groups.by_block(model)
    assert list(chosen) == [
        "bert.embeddings",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "bert.pooler",
        "classifier",
    ]
    chosen |= groups.by_pattern(model, {"attention": r"\.attention\.", "mlp": r"layer\.\d+\.(intermediate|output)\."})
    assert len(chosen["attention"]) == 2 * 10
    for path in (line, *(Only(line, names) for names in chosen.values())):
        curve = scan(path, evaluator, ScanOptions(alphas=ALPHAS))
        assert means(curve) == pytest.approx(plain(model, path, batches), rel=1e-4)
        assert not fell_back(curve)
        assert "positions_per_example" not in curve.provenance
    assert curve["error"].mean[-1] < 30


def test_layer_wise_lines_keep_the_blocks_before() -> None:
    model, start, end = encoder()
    batches = [sentences(20, torch.Generator().manual_seed(1))]
    names = groups.by_block(model)["bert.encoder.layer.1"]
    evaluator = Evaluator(model, {"test": batches}, fast=True)
    scan(Only(Line(start, end), names), evaluator, ScanOptions(alphas=ALPHAS))
    kept = [held for plan in evaluator.engine._plans.values() if plan for held in plan.kept.values()]
    assert kept
    assert any(isinstance(v, Tensor) and v.shape == (20, 12, 32) for held in kept for v in held.values())


class Tagger(nn.Module):
    """A class for each position, from it alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(words))
        return out


def tagged(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 7, (count, 9), generator=random)
    kept = torch.arange(9) < torch.randint(0, 10, (count, 1), generator=random)
    return words, (words % 3).masked_fill(~kept, -100)


def test_the_mean_is_over_positions_however_they_are_batched() -> None:
    torch.manual_seed(0)
    model, other = Tagger().eval(), Tagger()
    words, targets = tagged(700)
    line = Line(State.from_module(model), State.from_module(other))
    with torch.no_grad():
        losses = F.cross_entropy(model(words).transpose(1, 2), targets)
        wrong = 100 * (model(words).argmax(2) != targets)[targets != -100].float().mean()

    def own(net: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return net(batch[0]), batch[1]

    batches = list(zip(torch.split(words, 33), torch.split(targets, 33), strict=True))
    for data, forward in (((words, targets), default_forward), (batches, default_forward), (batches, own)):
        for fast in (True, False):
            curve = scan(line, Evaluator(model, {"d": data}, fast=fast, forward=forward), ScanOptions(alphas=5))
            assert curve["cross_entropy"].mean[0] == pytest.approx(float(losses), rel=1e-5)
            assert curve["error"].mean[0] == pytest.approx(float(wrong), rel=1e-5)
            assert curve.provenance["positions_per_example"]["d"] == float((targets != -100).sum()) / 700
            # A few examples first, as the check of the ends does, have the scale of all.
            few = Evaluator(model, {"d": data}, forward=forward)
            first = few.spot_check(line, 0.0)["d", "cross_entropy"]
            assert first == pytest.approx(curve["cross_entropy"].values[0][: len(first)], rel=1e-5)


def test_walks_with_fewer_passes_have_the_means_of_all_tokens() -> None:
    torch.manual_seed(0)
    model, other = Tagger().eval(), Tagger()
    line = Line(State.from_module(model), State.from_module(other))
    data = {"d": tagged(3000)}
    full = scan(line, Evaluator(model, data), ScanOptions(alphas=101))["cross_entropy"]
    fewer = scan(line, Evaluator(model, data), ScanOptions(alphas=101, adaptive=True))["cross_entropy"]
    at = [int(np.argmin(abs(full.alphas - alpha))) for alpha in fewer.alphas]
    assert fewer.mean.tolist() == pytest.approx(full.mean[at].tolist(), rel=1e-5)
    drawn = scan(line, Evaluator(model, data), ScanOptions(alphas=11, until=0.05))["cross_entropy"]
    assert 250 <= drawn.values.shape[1] < 3000
    assert np.abs(drawn.mean - full.mean[::10]).max() < 4 * full.standard_error.max() * math.sqrt(
        3000 / drawn.values.shape[1]
    )


def test_own_measures_weigh_positions_where_they_say_so() -> None:
    torch.manual_seed(0)
    model = Tagger().eval()
    words, targets = tagged(50)

    @by_position
    def surprise(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)

    def whole(outputs: Tensor, targets: Tensor) -> Tensor:
        return (error(outputs, targets) > 0).float()

    found = Evaluator(model, {"d": (words, targets)}, [cross_entropy, surprise, whole])(State.from_module(model))
    assert np.array_equal(found["d", "surprise"], found["d", "cross_entropy"])
    assert set(found["d", "whole"]) == {0.0, 1.0}
    evaluator = Evaluator(model, {"d": (words, targets)}, [whole])
    evaluator(State.from_module(model))
    assert not evaluator.weights


def test_data_without_a_position_that_counts_are_refused() -> None:
    model = Tagger().eval()
    words, _ = tagged(5)
    with pytest.raises(DataError, match="all targets are ignored"):
        Evaluator(model, {"d": (words, torch.full_like(words, -100))})(State.from_module(model))


def test_equal_counts_change_no_bit() -> None:
    model = Tagger().eval()
    words, _ = tagged(60)
    found = Evaluator(model, {"d": (words, words % 3)})(State.from_module(model))["d", "cross_entropy"]
    with torch.no_grad():
        assert np.array_equal(found, cross_entropy(model(words), words % 3).numpy())


def test_two_checkpoints_of_a_language_model_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model, start, end = causal("Llama")
    for state, name in ((start, "start"), (end, "end")):
        state.load_into(model)
        model.save_pretrained(tmp_path / name)  # type: ignore[operator]
    (tmp_path / "a.txt").write_bytes(TEXT)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["start/model.safetensors", "end/model.safetensors", "--model", "hf:end", "--data", "text:a.txt,length=16"]
    monkeypatch.setattr(
        "sys.argv", ["linescape", "probe", *words, "--layers", "--pattern", "self_attn", "--alphas", "3"]
    )
    cli.main()
    out, err = capsys.readouterr()
    page = Path(out.strip().splitlines()[-1]).read_text()
    assert "model.layers.1" in err
    assert "self_attn" in err
    assert "perplexity on test data" in err
    assert "note: Tokens are bytes." in err
    assert "test perplexity, start to end" in page
