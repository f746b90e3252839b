"""What is measured of a few ranks, and that the page has the tables that follow from the figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from scaling import PAGE, RESULTS, _measured
from scaling_tables import h100, measured_tables, predicted_tables

from ugts_dist.graphs.synthetic import generate
from ugts_dist.graphs.synthetic_config import PRESETS


def test_the_page_has_the_tables_of_the_figures() -> None:
    results, page = json.loads(RESULTS.read_text()), PAGE.read_text()
    assert measured_tables(results) in page
    assert predicted_tables(results) in page
    assert 5e-6 < h100(results).host < 50e-6


def test_the_counted_bytes_are_those_of_the_algorithms() -> None:
    """All-reduce of the scores' gradients in a ring; three histograms of int64 and, on a CPU, counts near the k-th."""
    results = json.loads(RESULTS.read_text())
    for run in results["strong"] + results["weak"]:
        ranks, others = run["ranks"], run["ranks"] - 1
        expected = 2 * others / ranks * 4 * run["scores"] + others * 8 * (2 + 2048 + 2048 + 1024)
        assert run["sent"] == pytest.approx(expected)
        assert expected <= run["sockets"] <= 1.02 * expected


@pytest.mark.slow
def test_ranks_are_measured(tmp_path: Path) -> None:
    generate(PRESETS["products-like"].scaled(0.002), tmp_path / "graph", lambda *_: None)
    options = argparse.Namespace(
        store=tmp_path / "graph", ranks=[1, 2], batch=32, fan_out=[3, 2], width=8, steps=2, out=None
    )
    results = _measured(options, presets=[])
    one, two = results["strong"]
    assert one["ticket"] == two["ticket"]
    assert (one["batch"], two["batch"]) == (32, 32)
    assert [run["batch"] for run in results["weak"]] == [8, 16]
    assert one["sent"] == 0 < two["sent"] <= two["sockets"]
    assert one["seeds"] == pytest.approx(2 * two["seeds"], rel=0.1)
    assert "byte-identical" in measured_tables(results)
