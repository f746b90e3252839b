"""The work of a trial on its node: one run with its ranks, which reports to Tune."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

from ugts_dist.config import Config
from ugts_dist.errors import InputError, InUseError
from ugts_dist.metrics import Metric
from ugts_dist.terminal import log_to_stderr

REPORTS = 30  # per run, at most: each makes the ranks wait for Ray
_REPORT_SECONDS = 0.5  # between two reports of a single worker, each of which takes some hundredths of a second
FINISHED, FAILED = "finished", "failed"

Report = Callable[[dict[str, Any]], None]


def run_here(settings: dict[str, Any]) -> None:
    """The trainable of trials with one worker: the run itself, in Tune's own process, which the next trial reuses."""
    import torch
    from ray import tune

    from ugts_dist.distributed.ranks import Ranks

    trial = settings["trial"]
    device = torch.device("cuda" if trial["gpus"] else "cpu")
    _run(trial, Ranks(device=device), spaced(tune.report, _REPORT_SECONDS))


def run_on_workers(settings: dict[str, Any]) -> None:
    """The trainable of trials with several workers: it starts them and waits. A lost worker is restarted."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    trial = settings["trial"]
    # The interval in which Ray Train polls its workers, so how long each report makes them wait; the default is 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    resources = {"CPU": trial["cpus"], **({"GPU": trial["gpus"]} if trial["gpus"] else {})}
    trainer = TorchTrainer(
        _worker,
        train_loop_config=trial,
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if trial["gpus"] else "gloo",
            timeout_s=int(trial["config"]["run"]["timeout"]),
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=trial["workers"], use_gpu=bool(trial["gpus"]), resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=trial["key"],
            storage_path=trial["ray"],
            callbacks=[TuneReportCallback()],
            failure_config=ray.train.FailureConfig(max_failures=trial["failures"]),
        ),
    )
    trainer.fit()


def _worker(trial: dict[str, Any]) -> None:
    """One rank of the run, in the process group that Ray has made."""
    import ray.train
    from ray.train.torch import get_device

    from ugts_dist.distributed.ranks import ranks_of_group

    _run(trial, ranks_of_group(get_device()), ray.train.report)


def _run(trial: dict[str, Any], ranks: Any, report: Report) -> None:
    """Run the trial from its newest checkpoint, if it has one. Every rank reports equally often."""
    import torch

    from ugts_dist.checkpointing.identity import Resume
    from ugts_dist.training.run import run

    log_to_stderr()
    torch.set_num_threads(trial["cpus"])
    config = Config.from_dict(trial["config"], f"trial {trial['key']}")
    try:
        # A search may have been moved: the parent's scores are identified by its key, not by its path.
        resume = Resume(override=("run.init_scores",))
        result, _ = run(config, ranks, resume, reporter(config, report))
    except (InputError, FloatingPointError) as error:
        if isinstance(error, InUseError):  # by an old process of the same trial that does not know yet that it is lost
            raise
        report({FAILED: " ".join(str(error).split())})
        return
    figures = {"valid": result.valid, "reached": result.sparsity, "bytes": result.bytes}
    report({FINISHED: True, "metric": result.metric, **figures})


def reporter(config: Config, report: Report) -> Callable[[int, dict[str, float], Metric], None]:
    """A function that reports evaluated epochs, but not all of a long run, and never the test metric.

    The choice depends only on the configuration, so that it is the same on every rank.
    """
    every = max(1, -(-config.run.epochs // REPORTS))
    last = -every

    def on_epoch(epoch: int, metrics: dict[str, float], metric: Metric) -> None:
        nonlocal last
        if epoch // every > last // every:
            last = epoch
            values = {name: metrics[name] for name in ("sparsity", "loss", "valid")}
            time_after = epoch + 1 - config.ramp_epochs
            report({"epoch": epoch, "epochs_after_ramp": time_after, "metric": metric.title, **values})

    return on_epoch


def spaced(report: Report, seconds: float, clock: Callable[[], float] = time.monotonic) -> Report:
    """Skip reports that come sooner than `seconds` after the last one, except that at the end of a trial.

    For a single worker: the clocks of several would not agree.
    """
    last = -math.inf

    def report_spaced(values: dict[str, Any]) -> None:
        nonlocal last
        if "epoch" not in values or clock() - last >= seconds:
            report(values)
            last = clock()

    return report_spaced
