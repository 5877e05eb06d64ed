"""Models and data in words, each against the library that defines them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from linescape import cli
from linescape.cli import specs
from linescape.data.dataset import rank_in_class
from linescape.errors import DataError, LinescapeError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.state import State
from tests.support import optional

OWN = """
from dataclasses import dataclass

import torch
from torch import nn

RUNS = []

@dataclass
class Size:
    inputs: int = 5

def network():
    RUNS.append(1)
    return nn.Linear(Size().inputs, 3)

def data():
    return {"train": (torch.randn(8, 5), torch.arange(8) % 3), "test": [(torch.randn(4, 5), torch.arange(4) % 3)]}

def one():
    return torch.randn(4, 5), torch.arange(4) % 3

def generator():
    return (batch for batch in [one()])

number = 3
"""

DATA = "own.py:data"


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    sys.modules.pop("own", None)
    before = list(sys.path)
    yield
    sys.path[:] = before


def network(text: str) -> nn.Module:
    return specs.network_and_data(text, DATA, None).network


def refused(kind: type[LinescapeError], said: str, model: str | None = "own.py:network", data: str = DATA) -> None:
    with pytest.raises(kind, match=said):
        specs.network_and_data(model, data, None)


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


def saved(folder: Path, **changed: Any) -> Any:
    """A small causal model of Hugging Face, saved."""
    transformers = optional.load("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.LlamaConfig(**{"vocab_size": 300, "max_position_embeddings": 32, **sizes, **changed})
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model


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
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
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


def draw(folder: Path, count: int, size: tuple[int, int], mode: str = "RGB", kind: str = "png") -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    for number in range(count):
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.{kind}")


@pytest.mark.extras
def test_image_folders_are_read_as_torchvision_does(tmp_path: Path) -> None:
    torchvision = optional.load("torchvision")
    T = importlib.import_module("torchvision.transforms")
    for half in ("train", "val"):
        draw(tmp_path / "set" / half / "cat", 3, (40, 30), kind="jpg")
        draw(tmp_path / "set" / half / "ant", 2, (21, 50))
    words = "images:set,size=16,resize=20,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"
    found = specs.network_and_data("own.py:network", words, None)
    assert list(found.data) == ["train", "val"]
    normal = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    change = T.Compose([T.Resize(20), T.CenterCrop(16), T.ToTensor(), normal])
    for half, (inputs, labels) in found.data.items():
        expected = torchvision.datasets.ImageFolder(tmp_path / "set" / half, change)
        assert labels.tolist() == expected.targets
        assert torch.allclose(inputs, torch.stack([image for image, _ in expected]), atol=1e-6)
    assert found.notes == ("Images were normalised with mean=0.485/0.456/0.406 and std=0.229/0.224/0.225, as named.",)


def test_images_of_classes_alone_are_test_data_with_their_own_mean(tmp_path: Path) -> None:
    draw(tmp_path / "set" / "10", 2, (4, 4), "L")
    draw(tmp_path / "set" / "9", 3, (4, 4))
    found = specs.network_and_data("own.py:network", "images:set", None)
    inputs, labels = found.data["test"]
    assert labels.tolist() == [0, 0, 0, 1, 1]  # by value
    assert inputs.shape == (5, 3, 4, 4)
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert inputs.std((0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert "those of the test images" in found.notes[0]


def test_of_many_training_images_as_many_of_each_class_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linescape.cli.specs.examples.TRAIN", 4)
    draw(tmp_path / "set" / "train" / "a", 9, (3, 3))
    draw(tmp_path / "set" / "train" / "b", 2, (3, 3))
    found = specs.network_and_data("own.py:network", "images:set", None)
    assert found.data["train"][1].tolist() == [0, 0, 1, 1]
    assert found.notes[0] == "4 of 11 examples of 'train' are measured."


def test_images_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "set" / "a", 2, (3, 3))
    draw(tmp_path / "set" / "b", 2, (4, 3))
    refused(DataError, "Add size=224", data="images:set")
    refused(DataError, "no folder", data="images:absent")
    refused(RecipeError, "Did you mean 'size'", data="images:set,sise=3")
    refused(RecipeError, "go together", data="images:set,mean=0.5")
    refused(RecipeError, "whole numbers", data="images:set,size=big")
    refused(RecipeError, "give both so", data="images:set,size=3,resize=2")
    refused(DataError, "3 channels, but mean", data="images:set,size=3,mean=0.5,std=0.5")
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"none")
    refused(DataError, "no readable PNG", data="images:set,size=3")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    refused(DataError, "no examples", data="images:empty")
    draw(tmp_path / "halves" / "train" / "a", 1, (3, 3))
    draw(tmp_path / "halves" / "test" / "b", 1, (3, 3))
    refused(DataError, "the same classes", data="images:halves")


def test_bytes_of_text_are_tokens_and_the_next_is_the_target(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 26) for i in range(35)) + "é"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text("x" * 9)
    found = specs.network_and_data("own.py:network", "text:train=a.txt,length=8,test=b.txt", None)
    inputs, targets = found.data["train"]
    tokens = torch.tensor(list(text.encode()))
    assert inputs.shape == targets.shape == (4, 8)
    assert torch.equal(inputs.flatten(), tokens[:32])
    assert torch.equal(targets.flatten(), tokens[1:33])  # every token but the first once
    assert found.data["test"][0].shape == (1, 8)
    assert found.notes == ("Tokens are bytes.",)
    alone = specs.network_and_data("own.py:network", "text:a.txt,length=8", None)
    assert torch.equal(alone.data["test"][0], inputs)


def tokenizer(folder: Path, words: str) -> Any:
    transformers = optional.load("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {
        word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *dict.fromkeys(words.split())])
    }
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )
    made.save_pretrained(folder)
    return made


def test_the_tokenizer_is_the_networks_own_or_the_named(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    text = "the cat sat on the mat and the dog ran"
    made = tokenizer(tmp_path / "m", text)
    (tmp_path / "a.txt").write_text(text)
    ids = made(text)["input_ids"]
    for words in ("text:a.txt,length=4", "text:a.txt,length=4,tokenizer=m"):
        found = specs.network_and_data("hf:m", words, None)
        (batch,) = found.data["test"]
        assert batch["input_ids"].flatten().tolist() == ids[:8]
        assert batch["targets"].flatten().tolist() == ids[1:9]
        assert batch["attention_mask"].all()
        assert "Tokens are those of" in found.notes[0]
    of_bytes = specs.network_and_data("hf:m", "text:a.txt,length=4,tokenizer=bytes", None)
    assert of_bytes.data["test"][0]["input_ids"].flatten().tolist() == list(text.encode())[:36]


def test_text_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    saved(tmp_path / "m")
    saved(tmp_path / "few", vocab_size=100)
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    refused(DataError, "knows 100", "hf:few", "text:a.txt,length=8")
    refused(DataError, "the network takes 32", "hf:m", "text:a.txt")
    refused(DataError, "less than one block", "hf:m", "text:a.txt,length=1000")
    refused(RecipeError, "no positive whole number", "hf:m", "text:a.txt,length=long")
    refused(DataError, "could not be opened", "hf:m", "text:b.txt")
    refused(RecipeError, "no tokenizer", "hf:m", "text:a.txt,tokenizer=absent")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    refused(DataError, "no text in UTF-8", "hf:m", "text:a.txt")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=300, **sizes)).save_pretrained(tmp_path / "bert")
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    refused(RecipeError, "BertForMaskedLM is none", "hf:bert", "text:a.txt,length=8")


def test_data_sets_of_hugging_face_with_images(tmp_path: Path) -> None:
    datasets = optional.load("datasets")
    draw(tmp_path / "files", 6, (5, 4))
    pictures = [Image.open(tmp_path / "files" / f"{i}.png") for i in range(6)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(3)})
    rows = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 2, 2, 1, 0]}, features=features)
    datasets.DatasetDict({"train": rows, "validation": rows.select([4, 5])}).save_to_disk(tmp_path / "set")
    (tmp_path / "tables").mkdir()
    rows.to_parquet(tmp_path / "tables" / "train-00000-of-00001.parquet")
    rows.select([4, 5]).to_parquet(tmp_path / "tables" / "validation-00000-of-00001.parquet")
    for name in ("set", "tables"):
        found = specs.network_and_data("own.py:network", f"hf-data:{name},mean=0.5/0.5/0.5,std=1/1/1", None)
        inputs, labels = found.data["train"]
        expected = np.stack([np.asarray(picture) for picture in pictures]).transpose(0, 3, 1, 2) / 255 - 0.5
        assert np.allclose(inputs.numpy(), expected, atol=1e-6)
        assert labels.tolist() == [0, 1, 2, 2, 1, 0]
        assert torch.equal(found.data["validation"][0], inputs[4:])


def test_data_sets_of_hugging_face_with_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = optional.load("datasets")
    transformers = optional.load("transformers")
    monkeypatch.setattr("linescape.cli.specs.datasets._BATCH", 2)
    texts = ["a cat", "the cat sat on the mat", "dog"]
    made = tokenizer(tmp_path / "m", " ".join(texts))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=20, **sizes))
    model.save_pretrained(tmp_path / "m")
    rows = datasets.Dataset.from_dict({"text": texts, "label": [1, 0, 1]})
    rows.save_to_disk(tmp_path / "set")
    found = specs.network_and_data(None, "hf-data:set,length=4", None, tmp_path / "m")
    first, second = found.data["test"]
    assert first["input_ids"].tolist() == [[*made(texts[0])["input_ids"], 0, 0], made(texts[1])["input_ids"][:4]]
    assert first["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert (first["labels"].tolist(), second["labels"].tolist()) == ([1, 0], [1])
    refused(RecipeError, "no setting 'size'", "hf:m", "hf-data:set,size=3")
    # Without labels, or for a causal model, the texts follow one another.
    saved(tmp_path / "causal")
    joined = [*made(texts[0])["input_ids"], 1, *made(texts[1])["input_ids"], 1, *made(texts[2])["input_ids"]]
    found = specs.network_and_data("hf:causal", "hf-data:set,length=5,tokenizer=m", None)
    (batch,) = found.data["test"]
    assert batch["input_ids"].flatten().tolist() == joined[:10]
    assert batch["targets"].flatten().tolist() == joined[1:11]


def test_data_sets_of_hugging_face_that_cannot_be_used(tmp_path: Path) -> None:
    datasets = optional.load("datasets")
    datasets.Dataset.from_dict({"words": ["a"]}).save_to_disk(tmp_path / "set")
    datasets.Dataset.from_dict({"text": ["a"], "label": ["b"]}).save_to_disk(tmp_path / "named")
    refused(DataError, "has the columns words", data="hf-data:set")
    refused(RecipeError, "tokenizer=FOLDER", data="hf-data:named")
    tokenizer(tmp_path / "m", "a")
    refused(DataError, "no whole numbers", data="hf-data:named,tokenizer=m")
    (tmp_path / "other").mkdir()
    refused(DataError, "nor are there Parquet files", data="hf-data:other")
    (tmp_path / "other" / "state.json").write_text("{")
    refused(DataError, "no readable data set", data="hf-data:other")
    refused(DataError, "no folder", data="hf-data:absent")


def test_the_few_are_as_many_of_each_class() -> None:
    from linescape.cli.specs import examples

    labels = np.repeat([0, 1, 2], [3000, 700, 5])
    chosen = examples.by_class("train", labels)
    assert np.bincount(labels[chosen]).tolist() == [1295, 700, 5]
    assert len(examples.by_class("test", labels)) == 3705
    assert rank_in_class(torch.from_numpy(labels))[chosen].max() == 1294
    assert examples.spaced("train", 4001)[[0, 1, -1]].tolist() == [0, 2, 4000]


@pytest.mark.extras
def test_two_checkpoints_of_torchvision_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = optional.load("torchvision").models
    for seed, name in enumerate(("a.pt", "b.pt")):
        torch.manual_seed(seed)
        torch.save(models.squeezenet1_1(num_classes=2).state_dict(), name)
    draw(tmp_path / "set" / "a", 4, (40, 36))
    draw(tmp_path / "set" / "b", 4, (36, 40))
    words = ["--model", "torchvision:squeezenet1_1,num_classes=2", "--data", "images:set,size=32", "--alphas", "3"]
    monkeypatch.setattr(sys, "argv", ["linescape", "probe", "a.pt", "b.pt", *words])
    cli.main()
    out, err = capsys.readouterr()
    assert Path(out.strip().splitlines()[-1]).is_file()
    assert "note: Images were normalised with mean=" in err


def test_a_language_model_of_ones_own_is_called_with_tokens(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Small(nn.Sequential):\n    config = {'vocab_size': 2}\n\n"
        "def network():\n    torch.manual_seed(0)\n    return Small(nn.Embedding(256, 4), nn.Linear(4, 256))\n"
    )
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    network, data, _ = specs.network_and_data("small.py:network", "text:a.txt,length=10", None)
    found = Evaluator(network, data)(State.from_module(network))["test", "cross_entropy"]
    tokens = torch.tensor(list((b"to be or not to be " * 20)[:371]))
    with torch.no_grad():
        assert found.mean() == pytest.approx(float(torch.nn.functional.cross_entropy(network(tokens[:-1]), tokens[1:])))


def test_tokens_of_a_tokenizer_come_in_batches(tmp_path: Path) -> None:
    text = "the cat sat on the mat and the dog ran " * 40
    ids = tokenizer(tmp_path / "t", text)(text)["input_ids"]
    (tmp_path / "a.txt").write_text(text)
    found = specs.network_and_data("own.py:network", "text:a.txt,length=10,tokenizer=t", None)
    batches = found.data["test"]
    assert [len(inputs) for inputs, _ in batches] == [16, 16, 7]
    assert torch.cat([inputs.flatten() for inputs, _ in batches]).tolist() == ids[:390]
    assert torch.cat([targets.flatten() for _, targets in batches]).tolist() == ids[1:391]
