"""Optuna's trials: new ones each time, and a resumed search knows the earlier ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.tuning.helpers import SMALL, space
from tuning.manifest import open_search
from tuning.plan import Trial
from tuning.sampler import ParetoSampler
from ugts_dist.errors import InputError

OPTUNA = space(SMALL.replace("{grid = [0.01, 0.05]}", "{log_uniform = [0.01, 0.1]}"), kind="optuna", trials=4)


def key_of(trial: Trial) -> dict[str, str]:
    return {"key": trial.key}


def test_without_optuna_the_search_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with open_search(tmp_path, OPTUNA) as manifest, pytest.raises(InputError, match="optuna, which is not installed"):
        ParetoSampler(OPTUNA, manifest, key_of)


def test_what_is_finished_is_told_and_not_proposed_again(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with open_search(tmp_path, OPTUNA) as manifest:
        sampler = ParetoSampler(OPTUNA, manifest, key_of)
        keys = [str((sampler.suggest(str(number)) or {})["trial"]["key"]) for number in range(3)]
        assert len({*keys}) == 3
        assert all(0.01 <= trial.config.optim.lr <= 0.1 for trial in sampler.trials.values())
        for number, key in enumerate(keys):
            (manifest.runs / key).mkdir()
            text = '{"path": "best.ticket", "valid": 0.5, "sparsity": 0.5, "bytes": 500}'
            (manifest.runs / key / "result.json").write_text(text)
            manifest.change(key, "finished")
            sampler.on_trial_complete(str(number), {"finished": True, "valid": 0.5, "reached": 0.5, "bytes": 500})
    with open_search(tmp_path, OPTUNA) as manifest:
        again = ParetoSampler(OPTUNA, manifest, key_of)
        assert again.num_known == 3
        assert list(again.trials) == keys
        assert str((again.suggest("new") or {})["trial"]["key"]) not in keys
