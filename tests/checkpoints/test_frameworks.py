"""Each format against the library that defines it: what that library wrote is read back bit for bit."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import struct
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict_saver import save

from linescape import checkpoints, models, recipe
from linescape.errors import CheckpointError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support import optional
from tests.support.fsdp_save import network, trained


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert bits(found[name]) == bits(value), name


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e8m0fnu),
]


def all_kinds() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 2, (3, 4), generator=generator)
    shared = torch.randn(3, 4, generator=generator)
    return {
        **{str(dtype).removeprefix("torch."): numbers.to(dtype) for dtype in DTYPES},
        "shared": shared,
        "tied": shared,
        "turned": shared.T,
        "part": shared[1:, ::2],
        "one number of many": shared[1, 1],
        "expanded": shared[:, :1].expand(3, 4),
        "channels last": torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "empty in the middle": torch.empty(2, 0, 3, dtype=torch.float16),
        "parameter": nn.Parameter(shared * 2),
        "buffer that needs no gradient": nn.Buffer(shared * 3),
        "not finite": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_every_age_and_kind_of_tensor(zipped: bool, protocol: int, tmp_path: Path) -> None:
    how: dict[str, Any] = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    torch.save(all_kinds(), tmp_path / "all.pt", **how)
    found = checkpoints.read(tmp_path / "all.pt")
    same(found, all_kinds())
    for name, value in all_kinds().items():
        assert not value.numel() or found[name].stride() == value.stride(), name
    assert found["tied"].data_ptr() == found["shared"].data_ptr()
    module = models.build(recipe.LeNet(), (1, 8, 8), 3)
    module.state_dict()._metadata  # type: ignore[attr-defined]  # noqa: B018 - the attribute that a state dict carries
    torch.save(module.state_dict(), tmp_path / "net.pt", **how)
    same(checkpoints.read(tmp_path / "net.pt"), module.state_dict())
    module.load_state_dict(checkpoints.read(tmp_path / "net.pt").into(module))


def test_a_file_that_python_2_wrote(tmp_path: Path) -> None:
    values = torch.arange(6.0).reshape(2, 3)

    def text(content: str) -> bytes:
        return b"U" + bytes([len(content)]) + content.encode()

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("4711") + text("cuda:0") + b"K\x06NtQ"
    shape, stride = b"K\x02K\x03\x86", b"K\x03K\x01\x86"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00" + shape + stride + b"tR"
    items = b"](](" + text("fc.weight") + tensor + b"ee"
    head = [pickle.dumps(thing, 2) for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    content = b"\x80\x02ccollections\nOrderedDict\n" + items + b"\x85R."
    data = struct.pack("<q", 6) + values.numpy().tobytes()
    path = tmp_path / "2016.pth"
    path.write_bytes(b"".join(head) + content + pickle.dumps(["4711"], 2) + data)
    same(checkpoints.read(path), {"fc.weight": values})
    same(torch.load(path, weights_only=True, map_location="cpu"), {"fc.weight": values})


@pytest.mark.parametrize("whole", [True, False])
def test_lightning(whole: bool, tmp_path: Path) -> None:
    lightning = optional.load("lightning").pytorch

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, width: int, path: Path) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = nn.Linear(2, width)
            self.loss = nn.CrossEntropyLoss(weight=torch.ones(width))

        def training_step(self, batch: Any, _index: int) -> Tensor:
            out: Tensor = self.loss(self.model(batch[0]), batch[1])
            return out

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    module = Module(3, tmp_path)
    data = torch.utils.data.TensorDataset(torch.randn(4, 2), torch.tensor([0, 1, 2, 0]))
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, **quiet)
        trainer.fit(module, torch.utils.data.DataLoader(data))
        path = tmp_path / "last.ckpt"
        if whole:
            trainer.save_checkpoint(path)
        else:
            trainer.strategy.save_checkpoint({"state_dict": trainer.strategy.lightning_module_state_dict()}, path)
    found = checkpoints.read(path)
    same(found, module.state_dict())
    same(found.named_as(module.model.state_dict()), module.model.state_dict())
    assert found.file_format.container == ("state_dict",)


@pytest.mark.extras
def test_timm(tmp_path: Path) -> None:
    timm = optional.load("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utils: Any = importlib.import_module("timm.utils")
    model = timm.create_model("test_vit", num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = utils.ModelEmaV2(model, decay=0.5)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    average.update(model)
    saver = utils.CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(0, metric=1.0)
    same(checkpoints.read(tmp_path / "last.pth.tar"), model.state_dict())
    same(checkpoints.read(tmp_path / "last.pth.tar", ema=True), average.module.state_dict())


@pytest.mark.extras
def test_torchvision(tmp_path: Path) -> None:
    model = optional.load("torchvision").models.resnet18(num_classes=5)
    torch.save(model.state_dict(), tmp_path / "resnet18-5c106cde.pth")
    same(checkpoints.read(tmp_path / "resnet18-5c106cde.pth"), model.state_dict())
    state = checkpoints.read(tmp_path / "resnet18-5c106cde.pth").into(model)
    same({name: state[name] for name in model.state_dict()}, model.state_dict())


def test_deepspeed(tmp_path: Path) -> None:
    weights = network().state_dict()
    held: dict[str, Any] = {
        "module": weights,
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [OrderedDict()],
        "dp_world_size": 1,
    }
    torch.save(held, tmp_path / "mp_rank_00_model_states.pt")
    same(checkpoints.read(tmp_path / "mp_rank_00_model_states.pt"), weights)


def test_safetensors(tmp_path: Path) -> None:
    tensors = {name: value.detach().clone().contiguous() for name, value in all_kinds().items()}
    del tensors["complex128"]  # which it has no name for
    safetensors.torch.save_file(tensors, tmp_path / "all.safetensors", {"format": "pt"})
    found = checkpoints.read(tmp_path / "all.safetensors")
    same({name: found[name] for name in tensors}, tensors)
    assert found.metadata == {"format": "pt"}
    checkpoints.write(tmp_path / "ours.safetensors", tensors)
    ours = safetensors.torch.load_file(tmp_path / "ours.safetensors")
    same({name: ours[name] for name in tensors}, tensors)


@pytest.mark.parametrize("size", ["1GB", "20KB"])
def test_hugging_face(size: str, tmp_path: Path) -> None:
    transformers = optional.load("transformers")
    config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=16, n_layer=2, n_head=2)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "net", max_shard_size=size)
    assert (tmp_path / "net" / "model.safetensors.index.json").exists() == (size == "20KB")
    expected = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}  # which is tied
    found = checkpoints.read(tmp_path / "net")
    same({name: found[name] for name in sorted(found)}, {name: expected[name] for name in sorted(expected)})
    assert found.file_format.kind == "hugging face"


def bin_folder(folder: Path, weights: Mapping[str, Tensor], parts: int) -> Path:
    """As transformers wrote before version 5."""
    folder.mkdir()
    if parts == 1:
        torch.save(dict(weights), folder / "pytorch_model.bin")
        return folder
    places: dict[str, str] = {}
    for part in range(parts):
        file = f"pytorch_model-{part + 1:05}-of-{parts:05}.bin"
        held = {name: value for place, (name, value) in enumerate(weights.items()) if place % parts == part}
        torch.save(held, folder / file)
        places |= dict.fromkeys(held, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("parts", [1, 3])
def test_hugging_face_before_safetensors(parts: int, tmp_path: Path) -> None:
    weights = network().state_dict()
    found = checkpoints.read(bin_folder(tmp_path / "net", weights, parts))
    same({name: found[name] for name in weights}, weights)


def distributed(folder: Path, weights: Mapping[str, Any]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is one process
        save(dict(weights), checkpoint_id=folder)
    return folder


@pytest.mark.parametrize("container", ["", "model", "state_dict"])
def test_distributed_checkpoints_of_one_process(container: str, tmp_path: Path) -> None:
    module = network()
    optimizer = trained(module)
    weights = {name: value for name, value in all_kinds().items() if value.numel()} | module.state_dict()
    whole = {container: weights, "optim": optimizer.state_dict(), "epoch": 3} if container else weights
    found = checkpoints.read(distributed(tmp_path / "net", whole))
    same({name: found[name] for name in weights}, weights)
    assert len(found) == len(weights)
    assert found.file_format == checkpoints.FileFormat("distributed", (container,) if container else ())


@pytest.mark.slow
def test_distributed_checkpoints_of_two_processes(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    command = [sys.executable, "-m", "tests.support.fsdp_save"]
    both = [subprocess.Popen([*command, str(rank), str(folder)], cwd=Path(__file__).parents[2]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(list(folder.glob("*.distcp"))) == 2
    whole = network()
    trained(whole)
    found = checkpoints.read(folder)
    assert set(found) == set(whole.state_dict())
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)  # gradients are summed over processes
    converted = tmp_path / "whole.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp_to_torch_save(folder, converted)
    expected = checkpoints.read(converted)
    same({name: found[name] for name in expected}, expected)


def lightning_like(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"state_dict": weights, "epoch": 3, "hyper_parameters": {"lr": 0.1}}


WRITERS: dict[str, Callable[[Path, Mapping[str, Tensor]], Any]] = {
    "torch.save": lambda path, weights: torch.save(weights, path),
    "torch.save before 1.6": lambda path, weights: torch.save(weights, path, _use_new_zipfile_serialization=False),
    "lightning": lambda path, weights: torch.save(lightning_like(weights), path),
    "timm": lambda path, weights: torch.save({"state_dict": weights, "state_dict_ema": weights}, path),
    "deepspeed": lambda path, weights: torch.save({"module": weights}, path),
    "DataParallel": lambda path, weights: torch.save({f"module.{name}": w for name, w in weights.items()}, path),
    "safetensors": lambda path, weights: safetensors.torch.save_file(dict(weights), path),
    "bin folder": lambda path, weights: bin_folder(path, weights, 1),
    "bin folder in parts": lambda path, weights: bin_folder(path, weights, 2),
    "distributed": lambda path, weights: distributed(path, {"model": weights}),
    "ours": checkpoints.write,
}


def test_a_pair_of_resnets_saved_in_every_format_gives_the_same_curve_to_the_bit(tmp_path: Path) -> None:
    spec, shape = recipe.ResNet(depth=18, width=4), (3, 16, 16)
    ends = [models.draw(spec, shape, 4, recipe.Random(), seed) for seed in range(2)]
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(8, *shape, generator=generator), torch.randint(0, 4, (8,), generator=generator)
    evaluator = Evaluator(ends[0], {"data": data})
    curves = []
    for place, write in enumerate(WRITERS.values()):
        paths = [tmp_path / f"{place} {end}" for end in range(2)]
        for path, module in zip(paths, ends, strict=True):
            write(path, module.state_dict())
        start, end = (checkpoints.read(path).into(ends[0]) for path in paths)
        curves.append(scan(Line(start, end), evaluator, ScanOptions(alphas=[0, 0.3, 1], progress=False)))
    values = [next(iter(curve.values.values())) for curve in curves]
    assert values[0].shape == (3, 8)
    assert len(set(values[0].mean(1).tolist())) == 3
    for name, found in zip(WRITERS, values, strict=True):
        assert found.tobytes() == values[0].tobytes(), name


def test_a_view_that_is_negated_on_reading_says_so(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2, dtype=torch.complex64).conj()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="conj"):
        checkpoints.read(tmp_path / "a.pt")
    assert torch.load(io.BytesIO((tmp_path / "a.pt").read_bytes()))["weight"].is_conj()
