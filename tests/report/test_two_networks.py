"""The page of a probe of two networks."""

from __future__ import annotations

import json
from pathlib import Path

from linescape import report
from linescape.interpolation.probing import Probe
from tests.support.fake_study import BLOCKS
from tests.support.probes import sample_probe


def test_a_probe_says_what_it_found(probed: Path) -> None:
    text = probed.read_text()
    assert "On test data the loss rises by up to" in text
    assert "A note of the probe." in text
    content = json.loads((probed.parent / "probe.json").read_text())
    assert set(content["lines"]) == {"whole", *BLOCKS}
    assert {"line", "data", "measure", "batchnorm", "number", "value", "low", "high"} == set(content["numbers"][0])
    assert (probed.parent / "tables" / "numbers.csv").exists()


def test_a_probe_of_one_line_without_known_classes(tmp_path: Path) -> None:
    probe = sample_probe()
    alone = Probe({"whole": probe.curves["whole"]}, {"all": probe.distances["all"]})
    text = report.write_probe(alone, tmp_path, "a to b").read_text()
    assert "Layer-wise" not in text
