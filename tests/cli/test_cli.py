"""The command line as a whole: names that it does not know, Ctrl-C, and recipes in words."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linescape import cli
from linescape.cli import specs
from linescape.errors import DataError, RecipeError
from linescape.recipe import MLP, Data, Optimizer, ResNet, Schedule
from tests.support.command_line import Line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "run", "vlar2022"], "Did you mean 'vlaar2022'"),
        (["study", "run", "vlaar2022", "--scale", "huge"], "no scale 'huge'"),
        (["study", "run", "vlaar2022", "--arms", "no-weigth-decay"], "Did you mean 'no-weight-decay'"),
        (["train", "--under", "weight_deacy=0"], "Did you mean 'weight_decay'"),
        (["train", "--under", "weight_decay=much"], "weight_decay"),
        (["train", "--model", "resnt"], "Did you mean 'resnet'"),
        (["train", "--model", "resnet,depht=8"], "Did you mean 'depth'"),
        (["train", "--optimizer", "sgd,lr=fast"], "is not possible"),
        (["train", "--data", "mnist"], "mnist"),
        (["train", "--data", "fashion-minni,size=14"], "Did you mean 'fashion-mini'"),
        (["train", "--data", "caf\udce9"], "which is not UTF-8"),
        (["train", "--schedule", "step,epochs=5,drops=2/5"], "but the last epoch is 4"),
        (["train", "--schedule", "step,epochs=5,drops=3/2"], "epochs in order"),
        (["train", "--schedule", "constant,drops=2"], "kind 'constant' has no drops"),
        (["train", "--schedule", "cosine,epochs=5,factor=0.3"], "kind 'cosine' has no drops"),
        (["train", "--device", "xla"], "can use cpu"),
        (["flatten"], "flatten"),
    ],
)
def test_unknown_names_end_in_one_message(line: Line, words: list[str], message: str) -> None:
    code, _, err = line(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spiral.py").write_text(
        "import torch._dynamo\n"  # as torch's optimizers do when they are made, which the interruption is not to hit
        "from linescape.recipe import MLP, Data, Optimizer, Recipe, Schedule\n"
        "from linescape.studies.study import Study\n"
        "base = Recipe(Data('spiral'), MLP((20,)), Optimizer(lr=0.1, batch_size=64), Schedule(100))\n"
        "study = Study.of('spiral', base, {}, seeds=1, alphas=5)\n"
    )
    words = [sys.executable, "-m", "linescape", "study", "run", "spiral.py"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs" / "train").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)  # well inside the training
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again to continue" in err
    assert "Traceback" not in err
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["linescape", *words[3:]])
    cli.main()  # in this process, where torch is imported already
    assert "tasks done" in capsys.readouterr().err


def test_what_is_named_in_words_becomes_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "absent"))  # not the sets that this machine may have
    assert specs.network("resnet,depth=20,width=4,skips=false") == ResNet(depth=20, width=4, skips=False)
    assert specs.network("mlp,hidden=20/10") == MLP((20, 10))
    assert specs.content(Data, "name", "cifar10,fraction=0.5,classes=0/3") == Data(
        "cifar10", fraction=0.5, classes=(0, 3)
    )
    assert specs.content(Optimizer, "name", "adam") == Optimizer("adam")
    assert specs.content(Schedule, "kind", "step,epochs=3,drops=1/2") == Schedule(3, "step", (1, 2))
    with pytest.raises(RecipeError, match="settings are name=value"):
        specs.network("resnet,20")
    with pytest.raises(DataError, match="linescape data get cifar10"):
        specs.network_and_data("resnet", "cifar10", None)
