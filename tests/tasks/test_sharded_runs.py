"""Whole runs on hosts whose stores have shares of the features: resumed on other hosts, and refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.checkpointing.test_resume import StopAt, assert_same_run
from tests.processes import spawn
from tests.tasks.test_sharded import ranks_on, settings
from tests.training.helpers import config, planted_graph
from ugts_dist.checkpointing import saver
from ugts_dist.config import Config
from ugts_dist.errors import InputError, StoppedError
from ugts_dist.graphs import configured
from ugts_dist.graphs.configured import Data
from ugts_dist.graphs.molecules import GraphSet
from ugts_dist.graphs.share_store import write_share
from ugts_dist.graphs.store import open_store
from ugts_dist.graphs.store_writer import write_store
from ugts_dist.tasks.sharded import check_sharded
from ugts_dist.training.run import run


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """A folder with a whole store, its shares and one of another graph, "other"."""
    write_store(planted_graph(num_nodes=301), tmp_path / "whole")
    write_store(planted_graph(num_nodes=301, seed=1), tmp_path / "another")
    for part, parts in ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)):
        write_share(tmp_path / "whole", tmp_path / f"{part + 1} of {parts}", part, parts)
    write_share(tmp_path / "another", tmp_path / "other", 1, 2)
    return tmp_path


def ran(rank: int, hosts: list[str], stores: list[Path], chosen: Config, stop: int) -> str:
    """What a rank ends with: "stopped", an error, or nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configured, "_opened", lambda _: open_store(stores[rank], shares=True))
        patch.setattr(saver, "StopAgreement", type("Stopping", (StopAt,), {"at": frozenset({stop})}))
        try:
            run(chosen, ranks_on(hosts, rank))
        except StoppedError:
            return "stopped"
        except InputError as error:
            return str(error)
    return ""


def on_hosts(hosts: str, stores: list[Path], chosen: Config, stop: int = -1) -> str:
    """The same for all ranks; a letter for the host of each."""
    results = spawn(len(hosts), ran, list(hosts), stores, chosen, stop)
    assert len(set(results)) == 1, results
    return results[0]


def test_a_run_moves_from_three_hosts_to_two(stores: Path, tmp_path: Path) -> None:
    whole = stores / "whole"
    plain = settings("auto").replace({"run.folder": str(tmp_path / "plain")})
    assert on_hosts("aaa", [whole] * 3, plain, stop=10) == "stopped"
    assert on_hosts("aa", [whole] * 2, plain) == ""

    sharded = settings("sharded").replace({"run.folder": str(tmp_path / "sharded")})
    shares = [stores / "3 of 3", stores / "1 of 3", stores / "2 of 3"]
    assert on_hosts("abc", shares, sharded, stop=10) == "stopped"
    assert on_hosts("ab", [stores / "2 of 2", whole], sharded) == ""
    assert_same_run(tmp_path / "plain", tmp_path / "sharded")


REFUSED = {
    "as many shares as hosts": ("ab", ["1 of 3", "2 of 3"], "on 2 hosts, and one has share 1/3 of the features; "),
    "each share once": (
        "ab",
        ["1 of 2", "1 of 2"],
        "and more than one host has share 1/2 of the features; allowed is each",
    ),
    "one graph": ("ab", ["1 of 2", "other"], "rank 1 on b has other data than rank 0: "),
    "equally many ranks": ("aab", ["whole", "whole", "whole"], "and hosts have 1 and 2 ranks; allowed are equally"),
    "one store a host": ("aabb", ["1 of 2", "1 of 2", "2 of 2", "whole"], "and rank 2 has another share than "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hosts_that_do_not_fit_are_refused_before_there_is_a_folder(case: str, stores: Path, tmp_path: Path) -> None:
    hosts, names, told = REFUSED[case]
    chosen = settings("sharded").replace({"run.folder": str(tmp_path / "run")})
    assert told in on_hosts(hosts, [stores / name for name in names], chosen)
    assert not (tmp_path / "run").exists()


def test_one_host_keeps_all_features(stores: Path, tmp_path: Path) -> None:
    for placement in ("auto", "sharded"):
        on_hosts("aa", [stores / "whole"] * 2, settings(placement).replace({"run.folder": str(tmp_path / placement)}))
    assert_same_run(tmp_path / "auto", tmp_path / "sharded")


def test_what_has_no_shares_is_refused() -> None:
    graph = planted_graph()
    sharded = settings("sharded")
    sparse = dataclasses.replace(graph, x=graph.x * (graph.x > 1.9))
    molecules = GraphSet.__new__(GraphSet)
    object.__setattr__(molecules, "name", "molhiv")
    cases: dict[str, tuple[Data, Config]] = {
        "batch.size 0": (graph, sharded.replace({"batch.size": 0, "batch.fan_out": []})),
        "task.kind link": (graph, sharded.replace({"task.kind": "link"})),
        "most of whose features are zero": (sparse, sharded),
        "labels are of whole graphs": (molecules, sharded),
    }
    for told, (data, chosen) in cases.items():
        with pytest.raises(InputError, match=rf"^batch\.placement is sharded, allowed are .*{told}"):
            check_sharded(chosen, data)
    check_sharded(sharded, graph)


def test_fields_that_do_not_go_with_shares() -> None:
    with pytest.raises(InputError, match=r"^batch\.first_layer is exact, allowed is sampled with batch\.placement"):
        config(batch__placement="sharded", batch__first_layer="exact")
    with pytest.raises(InputError, match=r"^batch\.cache_bytes is 5, allowed is 0 or -1, as batch\.placement is"):
        config(batch__placement="sharded", batch__cache_bytes=5)
