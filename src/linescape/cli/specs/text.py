"""Text for language models: files cut into equal blocks of tokens, of which each predicts the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linescape import atomic
from linescape.cli.specs.examples import Read, noted, spaced
from linescape.cli.specs.user_code import optional
from linescape.errors import DataError, RecipeError, first_line
from linescape.evaluation.batches import map_tensors
from linescape.evaluation.forward import default_forward, is_hugging_face, predicts_next
from linescape.recipe.typed import name_and_settings

LENGTH = 128
"""Default number of tokens of a block, and default maximum of a text."""

BATCH = 16
"""Blocks in a batch; a network's output has the size of the vocabulary for each token."""

BYTES = "bytes"
"""The name of the tokenizer without a file: each byte is a token, a vocabulary of 256."""

_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt")


def read(text: str, network: nn.Module, folder: Path | None) -> Read:
    """Data from ``FILE`` or ``train=FILE,test=FILE``, and ``length=128,tokenizer=FOLDER``.

    Raises:
        RecipeError: a setting is impossible.
        DataError: a file cannot be read or is too short, or its tokens are not the network's.
    """
    first, comma, rest = text.partition(",")
    files = {} if "=" in first else {"test": first}
    settings = name_and_settings(comma + rest if files else f",{text}")[1]
    length = read_length(settings.pop("length", str(LENGTH)))
    tokenizer = read_tokenizer(settings.pop("tokenizer", None), folder)
    files |= settings
    if not all(files.values()) or not files:
        raise RecipeError(f"text:{text} names no file. Write text:FILE or text:train=FILE,test=FILE.")
    return blocks({name: [_content(Path(file))] for name, file in files.items()}, tokenizer, length, network)


def blocks(texts: Mapping[str, Sequence[bytes]], tokenizer: Any, length: int, network: nn.Module) -> Read:
    """Tokens and next tokens of each split, each ``(n, length)``; every token except the first is predicted once.

    They are tensors if tokens are bytes and the network is not from Hugging Face, and else batches, for Hugging Face
    with ``input_ids``, ``attention_mask`` and ``targets``. An incomplete last block is dropped.

    Args:
        texts: split -> its texts, which are joined by the end-of-text token if the tokenizer has one.
        tokenizer: from `read_tokenizer`; None for bytes.
        length: tokens of a block.
        network: the network that will be evaluated.

    Raises:
        RecipeError: the network is none that predicts the next token, or sees it.
        DataError: there is less than a block, or tokens are not the network's or more than it takes.
    """
    if is_hugging_face(network) and not predicts_next(network):
        raise RecipeError(
            f"Text without labels is for models that predict the next token, and a {type(network).__name__} is none. "
            "Give data with labels by hf-data:FOLDER, or your own by module:callable."
        )
    splits: dict[str, Any] = {}
    notes = ["Tokens are bytes." if tokenizer is None else f"Tokens are those of {tokenizer.name_or_path}."]
    known = getattr(getattr(network, "config", None), "vocab_size", None)
    if tokenizer is not None and isinstance(known, int) and len(tokenizer) < 0.9 * known:  # some are padded
        notes.append(f"The tokenizer knows {len(tokenizer)} tokens and the network {known}: is it the network's own?")
    for name, parts in texts.items():
        tokens = _tokens(parts, tokenizer)
        count = (len(tokens) - 1) // length
        if count < 1:
            raise DataError(
                f"The text of {name!r} has {len(tokens)} tokens, which is less than one block of length={length} and "
                "the token after it. Give more text, or a smaller length."
            )
        chosen = spaced(name, count)
        notes += noted(name, chosen, count)
        inputs, targets = (tokens[first : first + count * length].view(count, length)[chosen] for first in (0, 1))
        check(network, inputs, name)
        small = tokenizer is None and not is_hugging_face(network)
        splits[name] = (inputs, targets) if small else _batched(inputs, targets, network)
        if len(splits) == 1:
            _require_causal(network, _batched(inputs[:1, :32], targets[:1, :32], network)[0])
    return splits, tuple(notes)


def _batched(inputs: Tensor, targets: Tensor, network: nn.Module) -> list[Any]:
    pieces = zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True)
    if not is_hugging_face(network):
        return list(pieces)
    # Without a mask, the code of some models depends on the values of positions and cannot be traced.
    return [
        {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "targets": following}
        for tokens, following in pieces
    ]


def _require_causal(network: nn.Module, batch: Any) -> None:
    """Raise `RecipeError` if outputs depend on later tokens: the network would see what it is measured at predicting.

    It is called twice, the second time with another last token. Names of classes do not tell. Where all weights are 0,
    as they are until a checkpoint is read, they are given other values first.
    """
    if not any(bool(parameter.any()) for parameter in network.parameters()):
        noise = 0.1 * torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))  # drawing billions takes minutes
        for parameter in network.parameters():
            for piece in torch.split(parameter.detach().view(-1), len(noise)):
                piece.copy_(noise[: len(piece)])
    changed = map_tensors(batch, Tensor.clone)
    last = (changed["input_ids"] if isinstance(changed, dict) else changed[0])[:, -1]
    last.copy_(torch.where(last > 0, last - 1, last + 1))
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            before, after = (default_forward(network, given)[0][:, :-1].float() for given in (batch, changed))
    except Exception:  # whatever the network's own code raises: it is reported where it is measured
        return
    if before.numel() and float((before - after).abs().amax()) > 1e-5 * float(before.abs().amax()):
        raise RecipeError(
            f"The outputs of the network, a {type(network).__name__}, depend on later tokens, which it would be "
            "measured at predicting. Text needs a network that sees only the tokens before; for others give data with "
            "labels by hf-data:FOLDER or module:callable."
        )


def _tokens(texts: Sequence[bytes], tokenizer: Any) -> Tensor:
    if tokenizer is None:
        return torch.from_numpy(np.frombuffer(b"".join(texts), np.uint8).astype(np.int64))
    end, tokens = tokenizer.eos_token_id, list[int]()
    for text in texts:
        if tokens and end is not None:
            tokens.append(end)
        tokens += tokenizer(text.decode(), add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor(tokens, dtype=torch.int64)


def check(network: nn.Module, tokens: Tensor, name: str) -> None:
    """Raise `DataError` if a Hugging Face network has a smaller vocabulary or takes fewer tokens at once."""
    config = getattr(network, "config", None) if is_hugging_face(network) else None
    size, most = (getattr(config, field, None) for field in ("vocab_size", "max_position_embeddings"))
    if isinstance(size, int) and int(tokens.max()) >= size:
        raise DataError(
            f"The data {name!r} have the token {int(tokens.max())}, but the network knows {size} (0 to {size - 1}). "
            "Name the tokenizer that it was trained with: tokenizer=FOLDER."
        )
    if isinstance(most, int) and tokens.shape[1] > most:
        raise DataError(
            f"The examples of {name!r} have {tokens.shape[1]} tokens, but the network takes {most}. Write "
            f"length={most} or less."
        )


def read_tokenizer(named: str | None, folder: Path | None) -> Any:
    """The named tokenizer, or that in the network's folder; None if tokens are bytes.

    Raises:
        RecipeError: it cannot be read.
    """
    if named == BYTES:
        return None
    if named is None and not (folder and any((folder / name).is_file() for name in _FILES)):
        return None
    source = Path(named) if named else folder
    (auto,) = optional("transformers", "hf", "AutoTokenizer")
    try:
        return auto.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds of errors
        raise RecipeError(
            f"{source} has no tokenizer that could be read ({first_line(error)}). Name the folder that "
            "`save_pretrained` of the tokenizer wrote."
        ) from error


def read_length(text: str) -> int:
    """A positive whole number.

    Raises:
        RecipeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise RecipeError(f"length={text} is no positive whole number. Give the tokens of an example, as length=128.")
    return int(text)


def _content(path: Path) -> bytes:
    try:
        text = atomic.read(path)
        text.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error}). Convert it.") from error
    except OSError as error:
        raise DataError(f"{path} could not be opened: {error.strerror or error}.") from error
    return text
