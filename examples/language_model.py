"""A language model that is fine-tuned on another text, and what it forgets. `python examples/language_model.py`."""

import argparse
import copy
import inspect
from pydoc_data import topics  # the manual of Python, which comes with it

import torch

import linescape as ls
import transformers


def blocks(text: str, length: int = 32) -> torch.Tensor:
    """A text as blocks (blocks, length) of characters, each by its number in ASCII."""
    numbers = list(text.encode("ascii", "ignore"))
    return torch.tensor(numbers[: len(numbers) // length * length]).view(-1, length)


def train(model: transformers.GPT2LMHeadModel, words: torch.Tensor, steps: int) -> None:
    """Train a model in place by AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = words[torch.randint(len(words), (32,))]
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()


def main(steps: int = 300) -> dict[str, list[float]]:
    """Loss on both texts, in nats a character, along the line from the base to the fine-tuned model."""
    texts = {"manual": blocks("".join(topics.topics.values())), "code": blocks(inspect.getsource(argparse))}
    config = transformers.GPT2Config(
        vocab_size=128, n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    transformers.set_seed(0)
    base = transformers.GPT2LMHeadModel(config)
    train(base, texts["manual"][200:], steps)
    tuned = copy.deepcopy(base)
    train(tuned, texts["code"][200:], steps // 3)
    data = {name: [{"input_ids": words[:200], "labels": words[:200]}] for name, words in texts.items()}
    curve = ls.scan(ls.Line(base, tuned), ls.Evaluator(base, data), ls.ScanOptions(alphas=11))
    losses = {name: curve[name, "cross_entropy"].mean.tolist() for name in texts}
    for name, values in losses.items():
        print(f"Nats a character of the {name}: base {values[0]:.2f}, halfway {values[5]:.2f}, end {values[10]:.2f}.")
    return losses


if __name__ == "__main__":
    main()
