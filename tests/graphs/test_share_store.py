"""Stores that have one host's share of the features."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.training.helpers import config, planted_graph
from ugts_dist.cli import main
from ugts_dist.errors import InputError
from ugts_dist.evaluation.whole_graph import is_sparse
from ugts_dist.graphs.checksum import DataChecksum
from ugts_dist.graphs.configured import load_graph
from ugts_dist.graphs.share_store import parse_share, write_share
from ugts_dist.graphs.store import open_extra, open_store, verify_store
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.graphs.traits import Traits


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write_store(planted_graph(num_nodes=5001), tmp_path / "whole")
    return tmp_path / "whole"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shares_together_are_the_whole(tmp_path: Path, dtype: torch.dtype) -> None:
    graph = planted_graph(num_nodes=301)
    graph = dataclasses.replace(graph, x=graph.x.to(dtype))
    write_store(graph, tmp_path / "whole")
    rows = []
    for part in range(3):
        write_share(tmp_path / "whole", tmp_path / f"{part}", part, 3)
        cut = open_store(tmp_path / f"{part}", shares=True)
        assert cut.share is not None
        assert str(cut.share) == f"{part + 1}/3"
        rows.append(cut.x[cut.share.start : cut.share.stop])
        assert float(cut.x.float().abs().sum()) == float(rows[-1].float().abs().sum())  # all others are holes
        for array in ("indptr", "indices", "y", "train", "valid", "test"):
            assert torch.equal(getattr(cut, array), getattr(graph, array))
        assert verify_store(tmp_path / f"{part}")
    assert torch.equal(torch.cat(rows), graph.x)


def test_a_share_tells_what_the_whole_does(whole: Path, tmp_path: Path) -> None:
    write_share(whole, tmp_path / "cut", 1, 2)
    graph, cut = open_store(whole), open_store(tmp_path / "cut", shares=True)
    assert DataChecksum.of(cut) == DataChecksum.of(graph)
    assert Traits.of(cut) == Traits.of(graph)
    assert is_sparse(cut) == is_sparse(graph)


def test_a_share_takes_its_part_of_the_disk(whole: Path, tmp_path: Path) -> None:
    write_share(whole, tmp_path / "cut", 1, 10)
    taken = [(folder / "x.npy").stat().st_blocks for folder in (tmp_path / "cut", whole)]
    assert taken[0] < taken[1] / 4


def test_a_share_is_refused_where_all_features_are_needed(whole: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    write_share(whole, cut, 1, 2)
    only = rf"^{cut}: has share 2/2 of the features only; .* --batch\.placement sharded on 2 hosts$"
    with pytest.raises(InputError, match=only):
        load_graph(config(data__name=str(cut)))
    sharded = config(data__name=str(cut), batch__placement="sharded", data__features="auto")
    assert load_graph(sharded).share is not None
    with pytest.raises(InputError, match=r"^data\.features is standardize, allowed are auto and none for share 2/2 of"):
        load_graph(sharded.replace({"data.features": "standardize"}))
    with pytest.raises(InputError, match=r"^data\.feature_noise is 0\.1, allowed is 0 for share 2/2 of"):
        load_graph(sharded.replace({"data.feature_noise": 0.1}))
    with pytest.raises(InputError, match=r"has share 2/2 only; allowed: a whole store$"):
        write_share(cut, tmp_path / "again", 0, 2)


def test_damage_is_noticed(whole: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    write_share(whole, cut, 1, 2)
    last = (cut / "x.npy").stat().st_size - 2
    with open(cut / "x.npy", "r+b") as file:
        file.seek(last)
        file.write(b"\x11")
    with pytest.raises(InputError, match=r"x\.npy changed since written"):
        verify_store(cut)
    with open(whole / "y.npy", "r+b") as file:
        file.seek(-8, 2)
        file.write(b"\x01")
    with pytest.raises(InputError, match=r"y\.npy: changed since written"):
        write_share(whole, tmp_path / "other", 0, 2)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("share", [{"part": 2, "parts": 2}, {"part": True}, {"part": -1}, {"sha256": 1}, None])
def test_meta_with_another_share_is_refused(whole: Path, tmp_path: Path, share: dict[str, object] | None) -> None:
    write_share(whole, tmp_path / "cut", 1, 2)
    path = tmp_path / "cut/meta.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    content["share"] = None if share is None else content["share"] | share
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"meta\.json"):
        open_store(tmp_path / "cut", shares=True)


@pytest.mark.parametrize("text", ["", "2", "3/2", "0/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "1/9999999999"])
def test_other_texts_are_no_share(text: str) -> None:
    with pytest.raises(InputError, match=r"^--share: .*; allowed: I/N, such as 2/3"):
        parse_share(text)


def test_extra_arrays_are_copied(whole: Path, tmp_path: Path) -> None:
    main(["prepare", str(whole), "--share", "1/2", "--out", str(tmp_path / "cut")])
    sample = open_extra(tmp_path / "cut", "feature_sample")
    assert sample is not None
    assert sample.shape == (2501, 16)


def test_options_that_do_not_go_together(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in (
        ([str(whole), "--share", "1/2"], "with the name or folder of a store, and --out"),
        ([str(whole), "--share", "1/2", "--out", "a", "--verify"], "--verify: not for --share 1/2"),
        (["cora", "--share", "1/2", "--out", "a"], "with the name or folder of a store, and --out"),
        ([str(whole), "--share", "1/9999", "--out", "a"], "at most one for each of 5,001 nodes"),
    ):
        with pytest.raises(SystemExit):
            main(["prepare", *arguments])
        assert told in capsys.readouterr().err


def test_the_version_of_a_share_is_one_that_older_programs_refuse(whole: Path, tmp_path: Path) -> None:
    write_share(whole, tmp_path / "cut", 0, 2)
    assert json.loads((tmp_path / "cut/meta.json").read_text())["version"] == 3
    assert json.loads((whole / "meta.json").read_text())["version"] == 1
    content = json.loads((whole / "meta.json").read_text()) | {"version": 3}  # without a share
    del content["sha256"]
    (whole / "meta.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"meta\.json: cannot be read"):
        open_store(whole)
