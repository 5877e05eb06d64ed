"""Text is for networks that do not see the token that they are to predict, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from linescape.cli.specs import text
from linescape.errors import RecipeError
from tests.support import optional


class Mixer(nn.Module):
    """Outputs of a convolution over neighbouring tokens, those after included or not."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(256, 8), nn.Conv1d(8, 256, 3, padding=padding)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        out: Tensor = self.mix(self.embed(tokens).mT)[..., :length].mT
        return out


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(128)) * 4)
    return path


def test_networks_that_see_later_tokens_are_refused(file: Path) -> None:
    data, _ = text.read(f"{file},length=16", Mixer(padding=2), None)
    assert data["test"][0].shape[1] == 16
    with pytest.raises(RecipeError, match="a Mixer, depend on later tokens"):
        text.read(f"{file},length=16", Mixer(padding=1), None)
    text.read(f"{file},length=1", Mixer(padding=1), None)  # there is no later token


@pytest.mark.parametrize("built", ["with weights", "for a checkpoint"])
@pytest.mark.parametrize("decoder", [True, False])
def test_an_encoder_named_as_a_language_model_is_refused(file: Path, decoder: bool, built: str) -> None:
    transformers = optional.load("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = transformers.BertLMHeadModel(transformers.BertConfig(vocab_size=256, is_decoder=decoder, **sizes))
    if built == "for a checkpoint":
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
    if decoder:
        assert len(text.read(f"{file},length=16", network, None)[0]["test"]) == 2  # batches
    else:
        with pytest.raises(RecipeError, match="a BertLMHeadModel, depend on later tokens"):
            text.read(f"{file},length=16", network, None)


def test_what_cannot_be_called_is_left_to_where_it_is_measured(file: Path) -> None:
    data, _ = text.read(f"{file},length=16", nn.Linear(3, 2), None)
    assert list(data) == ["test"]
