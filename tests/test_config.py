from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ugts_dist import config_batch, config_sections, config_supermask, config_task
from ugts_dist.cli import main
from ugts_dist.config import Config, load_preset, load_toml, preset_names
from ugts_dist.config_types import typed
from ugts_dist.errors import InputError

SECTIONS = {field.name: get_type_hints(Config)[field.name] for field in dataclasses.fields(Config)}
FIELDS = [(section, field.name) for section, kind in SECTIONS.items() for field in dataclasses.fields(kind)]


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# In and out


@given(
    sparsity=st.floats(0.0, 1.0, exclude_max=True),
    lr=st.floats(1e-12, 1e6),
    seed=st.integers(0, 2**63 - 1),
    fan_out=st.lists(st.one_of(st.just(-1), st.integers(1, 1000)), min_size=1, max_size=4),
    folder=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    calibrate=st.booleans(),
)
def test_toml_gives_back_the_same_configuration(
    sparsity: float, lr: float, seed: int, fan_out: list[int], folder: str, calibrate: bool
) -> None:
    config = Config.from_dict(
        {
            "model": {"depth": len(fan_out), "arch": "gat", "heads": 4},
            "supermask": {"sparsity": sparsity, "calibrate": calibrate},
            "optim": {"lr": lr},
            "batch": {"size": 7, "fan_out": fan_out},
            "run": {"seed": seed, "folder": folder},
        },
        "test",
    )
    assert config.batch.fan_out == tuple(fan_out)
    assert Config.from_dict(tomllib.loads(config.to_toml()), "test") == config
    assert Config.from_dict(config.to_dict(), "test") == config


def test_a_file_gives_back_the_same_configuration(tmp_path: Path) -> None:
    config = Config().replace({"data.root": "/ä/ö", "batch.size": 3, "batch.fan_out": [5, -1], "run.epochs": 7})
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert load_toml(tmp_path / "config.toml") == config
    assert config != Config()


def test_what_is_not_given_has_its_default() -> None:
    config = Config.from_dict({"model": {"width": 32}}, "test")
    assert config == dataclasses.replace(Config(), model=dataclasses.replace(Config().model, width=32))
    assert Config.from_dict({}, "test") == Config()


def test_whole_numbers_are_floats_where_floats_are_meant() -> None:
    config = Config.from_dict({"optim": {"lr": 1}, "supermask": {"sparsity": 0}}, "test")
    assert (config.optim.lr, config.supermask.sparsity) == (1.0, 0.0)
    assert type(config.optim.lr) is float


def test_a_list_holds_what_its_type_says() -> None:
    assert typed(["a", "b"], tuple[str, ...], "x") == ("a", "b")
    assert typed([1, 0.5], tuple[float, ...], "x") == (1.0, 0.5)
    assert typed((), tuple[Literal["a", "b"], ...], "x") == ()
    with pytest.raises(InputError, match=r"^x is \['c'\], allowed is a list of a, b$"):
        typed(["c"], tuple[Literal["a", "b"], ...], "x")


def test_a_configuration_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.depth = 3  # type: ignore[misc]


def test_replace_leaves_the_original() -> None:
    config = Config()
    changed = config.replace({"supermask.sparsity": 0.25, "model.depth": 5})
    assert (changed.supermask.sparsity, changed.model.depth) == (0.25, 5)
    assert config == Config()
    assert changed.optim == config.optim


# Mistakes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "here: unknown section 'modle' (did you mean model?); allowed are data, model, "),
        ({"zzz": {}}, "here: unknown section 'zzz'; allowed are "),
        (
            {"model": {"dept": 3}},
            "here: unknown field in [model] 'dept' (did you mean depth?); allowed are arch, depth",
        ),
        ({"model": 3}, "here: model is 3, allowed is a section [model]"),
        ({"model": {"depth": 2.0}}, "here: model.depth is 2.0, allowed is a whole number"),
        ({"model": {"depth": True}}, "here: model.depth is True, allowed is a whole number"),
        ({"model": {"depth": "2"}}, "here: model.depth is '2', allowed is a whole number"),
        ({"model": {"arch": "gcnn"}}, "here: model.arch is 'gcnn', allowed are gcn, gin, gin-paper, gat, sage"),
        ({"model": {"arch": ["gcn"]}}, "here: model.arch is ['gcn'], allowed are gcn"),
        ({"optim": {"lr": "fast"}}, "here: optim.lr is 'fast', allowed is a number"),
        ({"optim": {"lr": True}}, "here: optim.lr is True, allowed is a number"),
        ({"supermask": {"calibrate": 1}}, "here: supermask.calibrate is 1, allowed is true or false"),
        ({"data": {"name": 7}}, "here: data.name is 7, allowed is a text"),
        ({"batch": {"fan_out": 10}}, "here: batch.fan_out is 10, allowed is a list of whole numbers"),
        ({"batch": {"fan_out": [1.5]}}, "here: batch.fan_out is [1.5], allowed is a list of whole numbers"),
        ({"batch": {"fan_out": [True]}}, "here: batch.fan_out is [True], allowed is a list of whole numbers"),
        ({"log": {"to": "wandb"}}, "here: log.to is 'wandb', allowed is a list of texts"),
        ({"log": {"to": ["wandb", 1]}}, "here: log.to is ['wandb', 1], allowed is a list of texts"),
        (
            {"log": {"to": ["mlfow"]}},
            "here: log.to: unknown logger 'mlfow' (did you mean mlflow?); allowed are tensorboard, wandb, mlflow",
        ),
        ({"log": {"to": ["wandb", "wandb"]}}, "here: log.to is ['wandb', 'wandb'], allowed is each logger once"),
        ({"log": {"project": " "}}, "here: log.project is ' ', allowed is a name"),
    ],
)
def test_wrong_names_and_types_are_refused(values: dict[str, Any], message: str) -> None:
    assert refused(lambda: Config.from_dict(values, "here")).startswith(message)


RANGES: list[tuple[str, list[Any]]] = [
    ("data.split", [-1, 2**63]),
    ("model.depth", [0, -1, 10**9]),
    ("model.width", [0, -8, 10**10]),
    ("model.heads", [0, 2**63]),
    ("model.dropout", [1.0, -0.1, math.nan]),
    ("supermask.sparsity", [1.0, -0.1, 1.5, math.nan, math.inf]),
    ("supermask.calibrate_at", [1.0, -0.1, math.nan]),
    ("supermask.input_sparsity", [1.0, -0.1, math.nan]),
    ("supermask.coats", [0, -1, 65]),
    ("supermask.pruned", [-0.1, 0.91, 1.0, math.nan]),
    ("supermask.locked", [-0.1, 0.11, 1.0, math.nan]),
    ("supermask.ramp", [1.01, -0.1, math.nan]),
    ("supermask.score_scale", [0.0, -1.0, 1e39, 1e-60, math.inf, math.nan]),
    ("supermask.output_rms", [0.0, -1.0, 1e39, 1e-60, math.inf, math.nan]),
    ("supermask.attention_rms", [0.0, -1.0, 1e39, 1e-60, math.inf, math.nan]),
    ("supermask.seed", [-2, 2**63]),
    ("optim.lr", [0.0, -0.1, 1e39, 1e-60, math.inf, math.nan]),
    ("optim.weight_decay", [-0.1, 1e39, math.inf, math.nan]),
    ("batch.size", [-1, 2**63]),
    ("batch.threads", [-2, 10**9]),
    ("batch.cache_bytes", [-2, 1 << 60]),
    ("batch.micro_batches", [0, -1, 2**63]),
    ("batch.fan_out", [[0], [-2], [5, 0], [2**63, 5]]),
    ("run.seed", [-1, 2**63]),
    ("run.epochs", [0, -1, 10**10]),
    ("run.evaluate_every", [0, -1, 2**63]),
    ("run.patience", [-1, 2**63]),
    ("run.timeout", [0.0, -1.0, 1e300, math.inf, math.nan]),
    ("checkpoint.every_steps", [-1, 2**63]),
    ("checkpoint.keep_last", [-1, 2**63]),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in RANGES for value in values])
def test_values_outside_their_range_are_refused(field: str, value: object) -> None:
    assert refused(lambda: Config().replace({field: value})).startswith(f"{field} is {value}, allowed is ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"supermask.sparsity": 0.4, "supermask.pruned": 0.5},
            "pruned is 0.5, allowed is 0 to supermask.sparsity, 0.4",
        ),
        ({"supermask.locked": 0.2}, "locked is 0.2, allowed is 0 to 1 - supermask.sparsity, 0.1"),
        (
            {"supermask.calibrate_at": 0.95, "supermask.locked": 0.1},
            "locked is 0.1, allowed is 0 to 1 - supermask.calibrate_at, 0.05",
        ),
        (
            {"supermask.pruned": 0.9, "supermask.locked": 0.1},
            "locked is 0.1, allowed is less than 1 - supermask.pruned, 0.1",
        ),
    ],
)
def test_parts_that_can_not_be_masked_or_kept_for_good_are_refused(changes: dict[str, Any], message: str) -> None:
    assert refused(lambda: Config().replace(changes)) == f"supermask.{message}"


def test_signed_masks_compare_magnitudes() -> None:
    message = "supermask.ranking is score, allowed is magnitude, as supermask.signed is true"
    assert refused(lambda: Config().replace({"supermask.signed": True})) == message
    Config().replace({"supermask.signed": True, "supermask.ranking": "magnitude"})


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"supermask.method": "edge-popup"}, "0 with a threshold for each layer"),
        ({"supermask.scope": "layer"}, "0 with a threshold for each layer"),
        ({"model.depth": 1}, "0 for model.depth 1, which has no other layer"),
    ],
)
def test_a_threshold_of_the_inputs_own_is_refused_where_there_is_no_global_one(
    changes: dict[str, Any], allowed: str
) -> None:
    message = f"supermask.input_sparsity is 0.9, allowed is {allowed}"
    assert refused(lambda: Config().replace({"supermask.input_sparsity": 0.9, **changes})) == message
    Config().replace({"supermask.input_sparsity": 0.0, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"supermask.sparsity": 0.0},
        {"supermask.sparsity": math.nextafter(1.0, 0.0)},
        {"supermask.ramp": 0.0},
        {"supermask.ramp": 1.0, "run.select": "any"},
        {"supermask.seed": -1},
        {"run.seed": 2**63 - 1},
        {"model.dropout": 0.0},
        {"model.depth": 1},
        {"run.epochs": 1},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(changes: dict[str, object]) -> None:
    config = Config().replace(changes).to_dict()
    for field, value in changes.items():
        section, _, name = field.partition(".")
        assert config[section][name] == value


def test_heads_must_divide_the_width_of_gat_only() -> None:
    assert "model.heads is 3, allowed is a divisor of the width 256" in refused(
        lambda: Config().replace({"model.arch": "gat", "model.heads": 3})
    )
    assert Config().replace({"model.heads": 3}).model.heads == 3


def test_the_papers_gin_needs_two_layers() -> None:
    changes = {"model.arch": "gin-paper", "model.depth": 1}
    assert "model.depth is 1, allowed is 2 or more for gin-paper" in refused(lambda: Config().replace(changes))


@pytest.mark.parametrize("fan_out", [[], [10], [10, 10, 10]])
def test_a_sampled_batch_needs_one_fan_out_a_layer(fan_out: list[int]) -> None:
    message = refused(lambda: Config().replace({"batch.size": 64, "batch.fan_out": fan_out}))
    assert message == f"batch.fan_out is {fan_out}, allowed is one number a layer (2), as batch.size is 64"


def test_a_full_batch_has_no_fan_out() -> None:
    message = refused(lambda: Config().replace({"batch.fan_out": [10, 10]}))
    assert message == "batch.fan_out is [10, 10], allowed is nothing, as batch.size is 0 (full batch)"


@pytest.mark.parametrize("content", [b"[model", b"depth", b"\xff\xfe", b"[model]\ndepth = 2\ndepth = 3"])
def test_files_that_are_not_toml_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    assert refused(lambda: load_toml(tmp_path / "c.toml")).startswith(f"{tmp_path / 'c.toml'}: cannot be read")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        assert refused(partial(load_toml, path)).startswith(f"{path}: cannot be read")


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[model]\ndepht = 2\n")
    assert refused(lambda: load_toml(tmp_path / "c.toml")).startswith(f"{tmp_path / 'c.toml'}: unknown field")


# Presets and methods


def test_presets_load() -> None:
    assert {"digits", "cora-gcn", "cora-gcn-paper"} <= set(preset_names())
    for name in preset_names():
        config = load_preset(name)
        assert config != Config(), name
        assert Config.from_dict(tomllib.loads(config.to_toml()), name) == config


def test_the_three_citation_graphs_have_the_same_presets_each_with_its_own_data_and_architecture() -> None:
    kinds = {
        graph: {name.removeprefix(graph) for name in preset_names() if name.startswith(f"{graph}-")}
        for graph in ("cora", "citeseer", "pubmed")
    }
    assert kinds["cora"] == kinds["citeseer"] == kinds["pubmed"]
    assert {"-gcn", "-gat-paper", "-gin-dense", "-gcn-deep", "-gat-remedy"} <= kinds["pubmed"]
    for graph, ends in kinds.items():
        for end in ends:
            config = load_preset(graph + end)
            arch = "gin-paper" if end == "-gin-paper" else end.split("-")[1]
            assert (config.data.name, config.model.arch) == (graph, arch), graph + end
            assert (config.supermask.method == "dense") == end.endswith(("-dense", "-remedy")), graph + end


def test_the_papers_preset_is_the_papers_method() -> None:
    """Table 4 of Huang et al. (2022), and the initialisation of its code."""
    config = load_preset("cora-gcn-paper")
    assert (config.optim.lr, config.optim.weight_decay, config.run.epochs, config.ramp_epochs) == (0.01, 0.0, 400, 200)
    assert (config.supermask.effective_scope, config.supermask.effective_schedule) == ("global", "linear")
    assert not config.supermask.calibrate
    assert not config.supermask.rescale


def test_an_unknown_preset_is_refused_with_a_hint() -> None:
    message = refused(lambda: load_preset("digit"))
    assert message.startswith("--preset digit: unknown (did you mean digits?); allowed are ")


def test_parts_of_the_methods() -> None:
    """Table 5: its four rows are {global, layer} x {gradual, constant}."""
    expected = {
        "ugts": ("global", "linear"),
        "no-global": ("layer", "linear"),
        "no-gradual": ("global", "constant"),
        "edge-popup": ("layer", "constant"),
        "dense": ("global", "constant"),
    }
    for method, parts in expected.items():
        section = Config().replace({"supermask.method": method}).supermask
        assert (section.effective_scope, section.effective_schedule) == parts
    changes = {"supermask.method": "edge-popup", "supermask.scope": "global", "supermask.schedule": "cubic"}
    section = Config().replace(changes).supermask
    assert (section.effective_scope, section.effective_schedule) == ("global", "cubic")


def test_the_ramp_is_half_the_epochs_as_in_the_paper() -> None:
    assert Config().replace({"run.epochs": 400}).ramp_epochs == 200
    assert Config().replace({"run.epochs": 400, "supermask.ramp": 0.25}).ramp_epochs == 100
    assert Config().replace({"supermask.method": "edge-popup"}).ramp_epochs == 0
    assert Config().replace({"supermask.schedule": "cubic", "run.epochs": 10}).ramp_epochs == 5


def test_the_weight_seed_is_the_runs_unless_it_is_given() -> None:
    assert Config().replace({"run.seed": 7}).weight_seed == 7
    assert Config().replace({"run.seed": 7, "supermask.seed": 0}).weight_seed == 0


# Help


@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_configuration_and_command_line_import_nothing_heavy(option: str) -> None:
    code = (
        "import sys, ugts_dist, ugts_dist.config, ugts_dist.cli\n"
        "from ugts_dist import Config, InputError\n"
        f"try: ugts_dist.cli.main(['train', '{option}'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'scipy', 'torch_geometric', 'sklearn', 'ogb', 'tensorboard', 'matplotlib')\n"
        "heavy += ('wandb', 'mlflow')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "--model.depth" in done.stdout


def documented(source: str) -> set[tuple[str, str]]:
    """(class, field) of every annotated field that a text follows, from the source."""
    import ast

    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    names.add((node.name, field.target.id))
    return names


def test_every_field_is_explained_in_the_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = documented(Path(config_sections.__file__).read_text())
    texts |= documented(Path(config_supermask.__file__).read_text())
    texts |= documented(Path(config_task.__file__).read_text())
    texts |= documented(Path(config_batch.__file__).read_text())
    assert {(SECTIONS[section].__name__, name) for section, name in FIELDS} <= texts
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help-all"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for section, name in FIELDS:
        assert f"--{section}.{name.replace('_', '-')}" in shown, f"{section}.{name}"
    for section, kind in SECTIONS.items():
        assert kind.__doc__, section


@pytest.mark.parametrize(("ramp", "epochs"), [(1.0, 400), (0.9, 3)])
def test_a_ramp_that_leaves_no_epoch_to_choose_from_is_refused(ramp: float, epochs: int) -> None:
    changes = {"supermask.ramp": ramp, "run.epochs": epochs}
    with pytest.raises(InputError, match=r"supermask\.ramp is"):
        Config().replace(changes)
    Config().replace({**changes, "run.select": "any"})
    Config().replace({**changes, "supermask.method": "edge-popup"})


def test_a_removed_field_is_read_where_it_had_no_effect() -> None:
    values = Config().to_dict()
    values["optim"]["average"] = 0.0
    assert Config.from_dict(values, "old.toml") == Config()
    values["optim"]["average"] = 0
    assert Config.from_dict(values, "old.toml") == Config(), "a whole number passes as a float"
    values["optim"]["average"] = 0.9
    with pytest.raises(InputError, match=r"old.toml: unknown field in \[optim\] 'average'"):
        Config.from_dict(values, "old.toml")
