"""Studies as data: all studies of the program, and what their files become."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ugts_dist.checkpointing.identity import run_key
from ugts_dist.config import load_preset
from ugts_dist.errors import InputError
from ugts_dist.experiments.study import Study, load_study, study_names, study_of

VALUES: dict[str, Any] = {
    "title": "Two methods",
    "measure": "test",
    "heading": "sparsity",
    "seeds": 3,
    "fields": {"run.epochs": 4},
    "columns": {"field": "supermask.sparsity", "values": [0.5, 0.9]},
    "panels": [
        {"title": "Digits", "presets": {"ours": "digits"}, "published": "digits", "fields": {"model.width": 16}},
        {
            "title": "Narrow",
            "presets": {"ours": "digits"},
            "fields": {"model.width": 8},
            "columns": ["0.9"],
            "seeds": 1,
        },
    ],
    "rows": [
        {"label": "UGTs", "preset": "ours", "published": "ugts"},
        {
            "label": "dense",
            "preset": "ours",
            "published": "dense",
            "flat": True,
            "fields": {"supermask.method": "dense"},
        },
    ],
}
PUBLISHED = {"digits": {"ugts": [90.0, 80.0], "dense": 95.0}}


def study(**changes: Any) -> Study:
    return study_of("two", {**VALUES, **changes}, PUBLISHED)


@pytest.mark.parametrize("name", study_names())
def test_every_study_is_made_of_valid_and_different_runs(name: str) -> None:
    loaded = load_study(name)
    assert loaded.cells
    for panel in loaded.panels:
        keys = [tuple(run_key(config) for config in cell.configs) for cell in panel.cells]
        assert len(set(keys)) == len(keys), panel.title
    assert len({cell.label for cell in loaded.cells}) == len(loaded.cells)
    for cell in loaded.cells:
        seeds = [config.run.seed for config in cell.configs]
        assert seeds == list(range(len(seeds)))
        assert seeds
    if name.startswith("table"):
        assert any(cell.published for cell in loaded.cells)


def test_a_cell_is_its_preset_with_the_fields_of_study_panel_column_and_row() -> None:
    first, _, dense = study().panels[0].cells
    expected = load_preset("digits").replace({"run.epochs": 4, "model.width": 16, "supermask.sparsity": 0.5})
    assert [config.determining() for config in first.configs] == [
        expected.replace({"run.seed": seed}).determining() for seed in range(3)
    ]
    assert first.label == "Digits / UGTs / 0.5"
    assert (dense.label, dense.configs[0].supermask.method) == ("Digits / dense", "dense")


def test_fields_of_a_panels_own_for_a_row_come_last_and_leave_the_other_panels() -> None:
    digits, narrow = VALUES["panels"]
    own = {"UGTs": {"optim.lr": 0.5, "run.epochs": 7}}
    changed = study(panels=[{**digits, "rows": own}, narrow])
    first, second, dense = changed.panels[0].cells
    plain = study().panels[0].cells
    assert first.configs == tuple(c.replace({"optim.lr": 0.5, "run.epochs": 7}) for c in plain[0].configs)
    assert second.configs == tuple(c.replace({"optim.lr": 0.5, "run.epochs": 7}) for c in plain[1].configs)
    assert dense.configs == plain[2].configs
    assert changed.panels[1] == study().panels[1]


def test_a_field_may_have_a_value_for_each_column() -> None:
    digits, narrow = VALUES["panels"]
    own = {"UGTs": {"optim.lr": {"0.5": 0.25, "0.9": 0.75}}}
    first, second, dense = study(panels=[{**digits, "rows": own}, narrow]).panels[0].cells
    plain = study().panels[0].cells
    assert first.configs == tuple(c.replace({"optim.lr": 0.25}) for c in plain[0].configs)
    assert second.configs == tuple(c.replace({"optim.lr": 0.75}) for c in plain[1].configs)
    assert dense.configs == plain[2].configs


def test_published_figures_stand_in_their_columns() -> None:
    assert [cell.published for cell in study().panels[0].cells] == [90.0, 80.0, 95.0]
    narrow = study().panels[1]
    assert [(cell.column, cell.published, len(cell.configs)) for cell in narrow.cells] == [
        ("0.9", None, 1),
        ("", None, 1),
    ]


def test_the_number_of_seeds_can_be_bounded() -> None:
    cells = study_of("two", VALUES, PUBLISHED, seeds=2).cells
    assert [len(cell.configs) for cell in cells] == [2, 2, 2, 1, 1]


def test_numbers_of_seeds_by_column_are_a_rows_before_a_panels_before_the_studys() -> None:
    ugts, dense = VALUES["rows"]
    digits, narrow = VALUES["panels"]
    by_column = study(
        seeds={"0.5": 5, "0.9": 4},
        panels=[{**digits, "seeds": {"0.9": 2}}, {**narrow, "columns": ["0.5", "0.9"]}],
        rows=[ugts, {**ugts, "label": "own", "seeds": {"0.5": 3}}, {**dense, "seeds": 6}],
    )
    wanted = {
        "Digits / UGTs / 0.5": 5,
        "Digits / UGTs / 0.9": 2,
        "Digits / own / 0.5": 3,
        "Digits / own / 0.9": 2,
        "Digits / dense": 6,
        "Narrow / UGTs / 0.5": 1,
        "Narrow / UGTs / 0.9": 1,
        "Narrow / own / 0.5": 3,
        "Narrow / own / 0.9": 1,
        "Narrow / dense": 6,
    }
    assert {cell.label: [config.run.seed for config in cell.configs] for cell in by_column.cells} == {
        label: list(range(number)) for label, number in wanted.items()
    }


def test_each_seed_of_a_redrawn_study_has_a_split_of_its_own() -> None:
    for redrawn, numbers in ((True, [1, 2, 3]), (False, [0, 0, 0])):
        cell = study(redrawn=redrawn).cells[0]
        assert [config.data.split for config in cell.configs] == numbers
        assert [config.run.seed for config in cell.configs] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("narrow", ["Narrow / UGTs / 0.9", "Narrow / dense"]),
        ("UGTS / 0.9", ["Digits / UGTs / 0.9", "Narrow / UGTs / 0.9"]),
        ("nothing", []),
    ],
)
def test_a_filter_leaves_the_cells_whose_label_has_it(text: str, labels: list[str]) -> None:
    assert [cell.label for cell in study().only(text).cells] == labels


def test_several_filters_leave_the_cells_that_have_any_of_them_once_each() -> None:
    left = study().only("DIGITS / dense", "0.9", "nothing", "ugts / 0.9")
    assert [cell.label for cell in left.cells] == ["Digits / UGTs / 0.9", "Digits / dense", "Narrow / UGTs / 0.9"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fields": {"optim.lr": {"0.9": 0.1}}},
            "study two: optim.lr has no value for column '0.5', only for 0.9",
        ),
        ({"seeds": {"0.5": 3}}, "study two: row 'UGTs' has no number of seeds for column '0.9'"),
        ({"seeds": {"0.5": 3, "0.8": 3}}, "study two: seeds of a column '0.8', allowed are 0.5, 0.9"),
        ({"fields": {"run.epoch": 4}}, "study two: unknown field in [run] 'epoch' (did you mean epochs?)"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        study(**changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown table or figure 'table9' .*; allowed are table1, .*, all"):
        load_study("table9")


def test_a_row_with_one_column_left_is_not_flat() -> None:
    (panel,) = study().only("digits / ugts / 0.5").panels
    assert not panel.rows[0].is_flat
    assert study().panels[0].rows[1].is_flat
    assert dataclasses.replace(panel.rows[0], cells=()).cells == ()
