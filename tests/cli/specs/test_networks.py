"""Networks in words, each against the library that defines it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from linescape.cli import specs
from linescape.errors import DataError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.state import State
from tests.support import optional
from tests.support.specs import DATA, network, refused, saved


def test_a_network_and_data_by_module_or_by_file(tmp_path: Path) -> None:
    for words in (("own:network", "own:data"), ("own.py:network", "own.py:data"), (f"{tmp_path}/own.py:network", DATA)):
        found = specs.network_and_data(*words, None)
        assert isinstance(found.network, nn.Linear)
        assert list(found.data) == ["train", "test"]
    found = specs.network_and_data("own.py:network", "own.py:one", None)
    assert list(found.data) == ["test"]
    assert list(Evaluator(*found[:2])(State.from_module(found.network))) == [
        ("test", "cross_entropy"),
        ("test", "error"),
    ]


def test_a_generator_is_refused_where_it_is_read() -> None:
    found = specs.network_and_data("own.py:network", "own.py:generator", None)
    with pytest.raises(DataError, match="only once"):
        Evaluator(*found[:2])


def test_what_a_function_may_not_be() -> None:
    refused(RecipeError, "Did you mean 'network'", "own.py:netwrk")
    refused(RecipeError, "is a int", "own.py:number")
    refused(RecipeError, "must return the network", "own.py:one")
    refused(RecipeError, "could not be opened", "absent.py:network")
    os.mkfifo("pipe.py")
    Path("folder.py").mkdir()
    refused(RecipeError, "no plain file", "pipe.py:network")
    refused(RecipeError, "no plain file", "folder.py:network")
    refused(RecipeError, "Did you mean 'torchvision'", "torchvison:resnet18")
    refused(RecipeError, "There is no network 'rsnet'", "linescape:rsnet", "spiral")
    refused(RecipeError, "needs data of linescape", "linescape:mlp")
    with pytest.raises(RecipeError, match="hf:FOLDER"):
        specs.network_and_data(None, DATA, None)


def test_networks_of_linescape_have_two_names() -> None:
    one, other = (specs.network_and_data(name, "spiral", None) for name in ("mlp,hidden=4", "linescape:mlp,hidden=4"))
    assert [v.shape for v in one.network.parameters()] == [v.shape for v in other.network.parameters()]
    assert torch.equal(one.data["test"][0], other.data["test"][0])


@pytest.mark.extras
def test_networks_of_torchvision() -> None:
    models = optional.load("torchvision").models
    found = network("torchvision:resnet18,num_classes=7,zero_init_residual=True")
    expected = models.resnet18(weights=None, num_classes=7)
    assert {n: v.shape for n, v in found.state_dict().items()} == {n: v.shape for n, v in expected.state_dict().items()}
    assert not found.state_dict()["layer1.0.bn2.weight"].any()
    refused(RecipeError, "Did you mean 'resnet18'", "torchvision:resnet19")
    refused(RecipeError, "could not be built", "torchvision:resnet18,depth=3")
    refused(RecipeError, "settings are name=value", "torchvision:resnet18,7")


@pytest.mark.extras
def test_networks_of_torchvision_fetch_no_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    optional.load("torchvision")
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("fetched"))
    found = network("torchvision:lraspp_mobilenet_v3_large,num_classes=3")
    assert "backbone.0.0.weight" in found.state_dict()


@pytest.mark.extras
def test_networks_of_timm() -> None:
    optional.load("timm")
    found = network("timm:vit_tiny_patch16_224,num_classes=4,in_chans=1,img_size=(32, 32),depth=2")
    assert found.patch_embed.proj.weight.shape == (192, 1, 16, 16)  # type: ignore[union-attr]
    assert found(torch.randn(2, 1, 32, 32)).shape == (2, 4)
    refused(RecipeError, "Did you mean 'vit_tiny_patch16_224'", "timm:vit_tiny_patch16_225")


def test_missing_and_unfitting_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    folder = f"hf:{tmp_path}"

    def broken(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for words in ("torchvision:resnet18", "timm:resnet18"):
        monkeypatch.setattr(importlib, "import_module", broken)
        refused(RecipeError, "torchvision does not fit the installed torch", words)
    refused(RecipeError, "does not fit .* Hugging Face do without it: pip uninstall torchvision", folder)
    for words, extra in (("torchvision:resnet18", "torchvision"), ("timm:resnet18", "timm"), (folder, "hf")):
        monkeypatch.setattr(importlib, "import_module", missing)
        refused(RecipeError, rf"pip install 'linescape\[{extra}\]'", words)


def test_networks_of_hugging_face_are_those_of_their_folder(tmp_path: Path) -> None:
    model = saved(tmp_path / "m")
    found = network(f"hf:{tmp_path / 'm'}")
    assert type(found) is type(model)
    assert {n: v.shape for n, v in found.state_dict().items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert found.config.use_cache is False  # type: ignore[union-attr]
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    of_end = specs.network_and_data(None, "text:a.txt,length=8", None, tmp_path / "m")
    assert type(of_end.network) is type(model)


def test_a_network_of_hugging_face_has_the_type_of_its_config(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    saved(tmp_path / "m").to(torch.bfloat16).save_pretrained(tmp_path / "m")
    found = network(f"hf:{tmp_path / 'm'}")
    # Version 5 takes the type of the config by default; older ones, and their name for it, have to be asked.
    asked = {} if transformers.__version__ >= "5" else {"torch_dtype": "auto"}
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", **asked)
    assert {n: v.dtype for n, v in found.named_parameters()} == {n: v.dtype for n, v in loaded.named_parameters()}
    assert {n: v.dtype for n, v in found.named_buffers()} == {n: v.dtype for n, v in loaded.named_buffers()}
    assert next(found.parameters()).dtype == torch.bfloat16
    assert torch.get_default_dtype() == torch.float32


def test_a_built_network_of_hugging_face_ties_and_computes_as_the_saved(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    config = transformers.GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=2, n_head=2)
    models = [
        saved(
            tmp_path / "llama", tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 5.0}
        ),
        transformers.GPT2LMHeadModel(config),
        transformers.BertForMaskedLM(
            transformers.BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        ),
    ]
    for model in models:
        model.eval().save_pretrained(tmp_path / "m")
        found: Any = network(f"hf:{tmp_path / 'm'}")
        state = State.from_module(model)
        assert State.from_module(found).tied == state.tied != {}
        state.load_into(found)
        words = torch.arange(8).view(1, 8)
        assert torch.equal(found.eval()(words).logits, model(words).logits)


def test_folders_that_are_no_network_of_transformers(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    text = config.read_text()
    refused(RecipeError, "has no config.json", f"hf:{tmp_path}")
    config.write_text(text.replace("LlamaForCausalLM", "LlamaForCausalML"))
    refused(RecipeError, "Did you mean 'LlamaForCausalLM'", f"hf:{tmp_path / 'm'}")
    config.write_text(text.replace("LlamaForCausalLM", "AutoTokenizer"))
    refused(RecipeError, "names the class 'AutoTokenizer'", f"hf:{tmp_path / 'm'}")
    config.write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}')
    (tmp_path / "m" / "mine.py").write_text("open('ran', 'w')")
    refused(RecipeError, "could not be read", f"hf:{tmp_path / 'm'}")
    assert not (tmp_path / "ran").exists()
    config.write_text("{")
    refused(RecipeError, "could not be read", f"hf:{tmp_path / 'm'}")
