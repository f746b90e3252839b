"""A search over an argument of an own network that predicts edges."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.tasks.test_links import graph_without_labels
from tests.tuning.helpers import search_here, space
from ugts_dist.checkpointing.saved_network import load_saved
from ugts_dist.graphs.store_writer import write_store

WIDTHS = """
[fields]
"data.name" = "{store}"
"task.kind" = "link"
"task.embedding" = 8
"model.factory" = "tests.training.own_nets:gcn"
"model.args.width" = {{grid = [4, 12]}}
"run.epochs" = 2
"log.to" = []
[search]
seeds = 1
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph") / "edges"
    write_store(graph_without_labels(), folder)
    return folder


def test_each_value_of_the_argument_is_a_ticket_of_its_own(store: Path, tmp_path: Path) -> None:
    search_here(space(WIDTHS.format(store=store), dense=False), tmp_path)
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert sorted(row["field.model.args.width"] for row in rows) == [4, 12]
    for row in rows:
        assert row["metric"] == "ROC-AUC"
        saved = load_saved(tmp_path / "runs" / row["key"])
        assert saved.own is not None
        assert saved.shapes["convs.0.lin.weight"] == (row["field.model.args.width"], 16)
        assert saved.num_outputs == 8
