"""Pages of a study, of two networks and of several, written once in each process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from linescape import report
from linescape.studies.study import Study
from tests.support.fake_study import FakeStore, study
from tests.support.probes import sample_lines, sample_probe

ARMS = ("base", "no-weight-decay", "adversarial", "lr-1", "depth-20", "ri-layer2", "mlp-spiral")


def small(seeds: int = 2) -> Study:
    return study(seeds, 21, treatments=True).only(*ARMS)


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_probe(sample_lines(), tmp_path_factory.mktemp("several"), "Checkpoints of a training")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = small()
    hostile = replace(made.arms[1], title="<script>alert(1)</script> & </script>")
    made = replace(made, arms=(made.arms[0], hostile, *made.arms[2:]))
    return report.write(made, FakeStore.with_trouble(made), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_probe(
        sample_probe(), tmp_path_factory.mktemp("probe"), "a.pt to b.pt", ("<b>checkpoints</b>",), classes=10
    )
