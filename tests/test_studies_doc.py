"""What docs/studies.md shows works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from linescape import cli
from tests.support.command_line import make_studies_quick

PAGE = (Path(__file__).parents[1] / "docs" / "studies.md").read_text()


def test_the_studies_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    make_studies_quick(monkeypatch)
    study, files = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(study.strip().splitlines()) <= 25
    Path("my_study.py").write_text(study + files)
    for index, name in enumerate(re.findall(r"\w+\.pt", files)):
        torch.manual_seed(index)
        torch.save(
            torch.nn.Sequential(
                torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
            ).state_dict(),
            name,
        )
    commands = re.findall(r"^linescape .*$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 4
    for command in [*commands, "linescape study run my_study.py:files"]:
        monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
        cli.main()
    assert "Does momentum matter?" in Path("report/index.html").read_text()
    assert "4 tasks done" in capsys.readouterr().err
