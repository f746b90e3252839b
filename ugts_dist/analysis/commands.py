"""`ugts analyse ...`: opens the network, measures on all ranks, and has the main rank show and write what was found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ugts_dist.analysis import findings
from ugts_dist.analysis.calibration import calibration
from ugts_dist.analysis.embedding import outputs_to_show
from ugts_dist.analysis.gradients import batches_of_a_step, gradient_norms
from ugts_dist.analysis.observe import observe_training
from ugts_dist.analysis.ood import detect
from ugts_dist.analysis.options import (
    AnalysisOptions,
    CalibrationOptions,
    GradientOptions,
    MadOptions,
    OodOptions,
    RobustnessOptions,
    TrainingOptions,
    TsneOptions,
)
from ugts_dist.analysis.publish import Finding, Place, publish
from ugts_dist.analysis.robustness import NOISES, under_noise, without_noise
from ugts_dist.analysis.smoothing import mad_of_layers
from ugts_dist.analysis.subject import Subject, open_config, open_subject, open_training_config
from ugts_dist.checkpointing.network_files import network_file
from ugts_dist.checkpointing.saved_network import Named
from ugts_dist.config import Config
from ugts_dist.distributed.ranks import Ranks, ranks_from_environment

Present = Callable[[], Finding]

NAMES: dict[type[AnalysisOptions], str] = {
    MadOptions: "mad",
    GradientOptions: "gradients",
    TrainingOptions: "training",
    TsneOptions: "tsne",
    OodOptions: "ood",
    RobustnessOptions: "robustness",
    CalibrationOptions: "calibration",
}


def run(options: AnalysisOptions) -> None:
    """Do what the options ask for. Raises InputError, on every rank, for every mistake in them."""
    with ranks_from_environment(options.device, options.timeout) as ranks:
        path, named = Path(options.path), Named(options.graph, options.root)
        config = ranks.raise_together(lambda: open_config(path, named))
        place = Place.of(options, NAMES[type(options)], network_file(path), config)
        ranks.raise_together(lambda: place.check() if ranks.is_main else None)
        present = _measured(options, named, config, ranks)
    # The other ranks are gone: what the main one does now may take its time.
    if ranks.is_main:
        publish(present(), place, options)


def _measured(options: AnalysisOptions, named: Named, config: Config, ranks: Ranks) -> Present:
    """The collective part; what it returns is for the main rank."""
    name = f"{config.data_name}, {config.model.arch} of depth {config.model.depth}, {config.label}"
    if isinstance(options, TrainingOptions):
        again = ranks.raise_together(lambda: open_training_config(Path(options.path), named, ranks))
        trace = observe_training(again.replace({"run.spill": options.spill}), options.every, ranks)
        return partial(findings.training_finding, name, trace)
    subject = open_subject(Path(options.path), ranks, named, options.spill)
    match options:
        case MadOptions():
            return partial(findings.mad_finding, name, mad_of_layers(subject.evaluator(), subject.model, ranks))
        case GradientOptions():
            return partial(findings.gradient_finding, name, _gradients(subject))
        case TsneOptions():
            return partial(findings.tsne_finding, name, outputs_to_show(subject, options), options)
        case OodOptions():
            return partial(findings.ood_finding, name, detect(subject))
        case RobustnessOptions():
            clean = without_noise(subject)
            found = {noise: under_noise(clean, noise, options.fractions, options.draws) for noise in NOISES}
            return partial(findings.robustness_finding, name, found)
        case CalibrationOptions():
            return partial(findings.calibration_finding, name, calibration(subject, options.bins), options)
    raise AssertionError(f"no analysis for {type(options).__name__}")


def _gradients(subject: Subject) -> dict[str, float]:
    config, task, ranks = subject.config, subject.task, subject.ranks
    ranks.raise_together(lambda: task.check(config, ranks))
    weights = dict(subject.model.named_parameters())
    step = batches_of_a_step(task.batches(config, ranks), 0)
    return gradient_norms(subject.model, weights, task, step, ranks)
