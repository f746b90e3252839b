"""One run from its configuration to its folder; and the evaluation of a saved network."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ugts_dist.checkpointing.broadcast import broadcast_checkpoint, initial_scores
from ugts_dist.checkpointing.identity import Identity, Resume, with_absolute_paths
from ugts_dist.checkpointing.result_file import NAME as RESULT
from ugts_dist.checkpointing.result_file import write_result
from ugts_dist.checkpointing.run_folder import RunFolder, open_folder, remove_if_new
from ugts_dist.checkpointing.saved_network import Named, load_saved
from ugts_dist.checkpointing.saver import command_to_resume
from ugts_dist.checkpointing.state import Checkpoint
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks
from ugts_dist.errors import InputError, InterruptedRunError
from ugts_dist.graphs import molecules
from ugts_dist.graphs.checksum import DataChecksum, with_digests
from ugts_dist.graphs.classes import labels_of
from ugts_dist.graphs.configured import Data, load_data, load_undisturbed
from ugts_dist.graphs.graph import Graph
from ugts_dist.graphs.traits import Traits
from ugts_dist.loggers import refuse_missing
from ugts_dist.tasks import Task, make_task
from ugts_dist.tasks.own import with_depth
from ugts_dist.tasks.placement import check_size
from ugts_dist.tasks.sharded import check_sharded, share_out
from ugts_dist.training.fit import OnEpoch, Result, fit
from ugts_dist.training.settings import Choice, advice, fitted, with_choices

_log = logging.getLogger(__name__)


def run(
    config: Config,
    ranks: Ranks,
    resume: Resume | None = None,
    on_epoch: OnEpoch | None = None,
    reasons: Sequence[str] = (),
) -> tuple[Result, Path]:
    """Load the data, create or find the run folder, and fit. `result.json` is written last.

    Before training, the main rank prints the `reasons` of the configuration. After each evaluated epoch every rank
    calls `on_epoch` with its number, its metrics, and the metric of validation and test.

    A run with an existing folder resumes from its newest checkpoint. For a finished run the result is returned.

    Raises InputError before training for every mistake in the input, and StoppedError if a signal ended it.
    """
    config = with_absolute_paths(config)
    config, data, task = ranks.raise_together(lambda: _checked(config, ranks))
    here = Identity(config, _checksum_of_all(data, ranks))
    if isinstance(data, Graph):
        share_out(data, config, ranks)  # hosts that do not fit together are refused before there is a folder
    with _folder_of_all(here, resume or Resume(), ranks) as opened:
        if opened.result is not None:
            return _known_result(opened.result, opened.path), opened.path
        if ranks.is_main and config.log.progress:
            for reason in reasons:
                _log.info(reason)
        try:
            resumed = broadcast_checkpoint(opened.start, ranks)
            if resumed is not None and ranks.is_main:
                _note_other_code(resumed, config)
            scores = None if resumed is not None else initial_scores(config.run.init_scores, ranks)
            if scores is not None and ranks.is_main:
                _note_other_data(scores, here)
            result = fit(config, data, ranks, opened.path, resumed, scores, on_epoch, task)
        except KeyboardInterrupt:  # before the first step, or the second one
            again = f"to resume from its last checkpoint, or to begin again: {command_to_resume(opened.path)}"
            raise InterruptedRunError(f"interrupted; {again}") from None
        except InputError:  # such as data that do not allow calibration
            if ranks.is_main:
                remove_if_new(opened)
            raise
        if ranks.is_main:
            write_result(opened.path, result.to_dict())
            if isinstance(data, Graph) and (line := advice(config, data, result.valid, Path(result.path))):
                _log.warning(line)
    return result, opened.path


def fit_settings(config: Config, ranks: Ranks, given: Collection[str] = ()) -> tuple[Config, list[str]]:
    """The configuration with settings that fit its graph, except for `given` fields; and a line about each setting.

    For datasets of graphs the configuration stays as it is. Raises InputError, on every rank, for data that can't be
    read.
    """
    if config.data.name in molecules.FOLDERS:
        return config, []

    def chosen() -> list[Choice]:
        graph = load_undisturbed(config)
        return fitted(with_depth(config, graph), Traits.of(graph), given)[1]

    # Machines may round counts differently, so all ranks use the main rank's choices.
    text = ranks.broadcast_text(json.dumps([dataclasses.astuple(choice) for choice in ranks.raise_together(chosen)]))
    choices = [Choice(*each) for each in json.loads(text)]
    return with_choices(config, choices), [str(choice) for choice in choices]


def _known_result(values: dict[str, Any], folder: Path) -> Result:
    try:
        # The folder may have been moved.
        return Result(**{**values, "path": str(folder / Path(values["path"]).name)})
    except TypeError as error:
        raise InputError(f"{folder / RESULT}: is not the result of a run ({error})") from None


@dataclass(frozen=True)
class Evaluation:
    """A saved network, measured again.

    Attributes:
        metric: its name, to show.
        measured: the metric by split.
        saved: the values that the file has, and its sparsity.
    """

    config: Config
    metric: str
    measured: dict[str, float]
    saved: dict[str, float]


def evaluate(path: Path, ranks: Ranks, named: Named | None = None) -> Evaluation:
    """Rebuild a saved ticket or dense network, and measure its metric.

    `path` is the file, or the folder of its run. If the network and the data have names of classes, classes are the
    same if their names are. Raises InputError for anything else.
    """
    named = named or Named()
    saved = ranks.raise_together(lambda: load_saved(path).with_factory(named.factory).with_data(named))
    config, data = saved.config, ranks.raise_together(lambda: load_data(saved.config, saved.trained_on))
    saved.note_other_data(data, ranks)
    if isinstance(data, Graph) and data.has_classes and data.class_names and saved.class_names:
        labels, _ = labels_of(data, saved.class_names)
        data = dataclasses.replace(data, y=labels, num_classes=saved.num_outputs)
    if saved.labels.kind is not None:
        config = config.replace({"task.kind": saved.labels.kind})
    task = make_task(data, config, ranks.device, saved.labels.scale)
    model = saved.fill(task.network(config)).to(ranks.device)
    measured, zero = task.evaluator(config, ranks).measure(model, torch.zeros((), device=ranks.device))
    if not math.isfinite(zero):
        raise InputError(f"{path}: its network predicts numbers that are not finite on {config.data.name}")
    return Evaluation(Config.from_dict(config.portable(), ""), task.metric.title, measured, saved.metrics)


def _checked(config: Config, ranks: Ranks) -> tuple[Config, Data, Task[Any]]:
    """The data and their task, after a check that they fit the configuration and the ranks.

    The configuration then has the depth of an own network.
    """
    if config.optim.compress and ranks.device.type != "cuda":
        raise InputError("optim.compress is True, but the ranks are on the CPU; allowed is False (it needs NCCL)")
    if ranks.is_main:
        refuse_missing(config.log.to)
    data = load_data(config)
    config = with_depth(config, data) if isinstance(data, Graph) else config
    task = make_task(data, config, ranks.device)
    task.check(config, ranks)
    check_sharded(config, data)
    with torch.device("meta"):
        network = task.network(config)
    check_size(config, network, ranks)
    return config, with_digests(data), task


def _checksum_of_all(data: Data, ranks: Ranks) -> DataChecksum:
    """The checksum of the data. Raises InputError, on every rank, if a rank has other data than the main rank."""
    own = DataChecksum.of(data)
    of_main = DataChecksum.from_dict(json.loads(ranks.broadcast_text(json.dumps(own.to_dict()))))

    def check() -> None:
        if found := of_main.difference(own):
            where = f"rank {ranks.rank} on {ranks.machine}"
            raise InputError(f"{where} has other data than rank 0: {found} differ; allowed are the same on every rank")

    ranks.raise_together(check)
    return own


def _note_other_data(scores: Checkpoint, here: Identity) -> None:
    """Print a note if initial scores come from other data, such as another split."""
    if scores.data is not None and here.data is not None and (found := scores.data.difference(here.data)):
        _log.warning(f"note: the scores of {scores.path} were found on other data: {found} differ")


def _note_other_code(resumed: Checkpoint, config: Config) -> None:
    """Print a note if the code of an own network has changed since the best network of a resumed run was saved."""
    if config.model.factory and resumed.best_file:
        file = resumed.path / resumed.best_file
        if (own := load_saved(file).own) is not None:
            own.note_other_code(config.model.factory, file)


@contextmanager
def _folder_of_all(here: Identity, resume: Resume, ranks: Ranks) -> Iterator[RunFolder]:
    """The main rank's folder, on every rank. Only the main rank has the checkpoint to resume from."""
    with ExitStack() as stack:
        opened = ranks.raise_together(lambda: stack.enter_context(open_folder(here, resume)) if ranks.is_main else None)
        description = ranks.broadcast_text(json.dumps([str(opened.path), opened.result]) if opened is not None else "")
        if opened is None:
            path, result = json.loads(description)
            opened = RunFolder(Path(path), result=result)
        for text in opened.notes:
            _log.warning(text)
        if opened.start is not None:
            state = opened.start
            where = f"epoch {state.epoch}, step {state.step} of {state.steps_per_epoch}"
            _log.info(f"{opened.path} resumes at {where}, from {state.path}")
        elif ranks.is_main and here.config.log.progress and opened.result is None:
            _log.info(f"run folder {opened.path}")
        yield opened
