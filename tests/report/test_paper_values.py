"""Published and own values in the tables of the papers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lico_bench.data.cards import card_names, load_card
from lico_bench.metrics import METRICS
from lico_bench.report import formatting, paper_values
from lico_bench.saliency import SALIENCY
from lico_bench.training import ARMS
from tests.report.paper_layouts import rebuilt, rows_of


def test_published_numbers_read_as_their_source_prints_them(layouts):
    response, fletcher, *_ = rows_of(layouts["insertion_deletion_cifar10"], "Grad-CAM")
    assert response == [
        "Grad-CAM", "Authors' response 2024, wrn_28_2", "0.6434", "0.6541", "0.3858", "0.3893",
        "0.2576", "0.2648",
    ]  # fmt: skip
    assert fletcher[1:4] == ["Fletcher et al. 2024, wrn_28_2", "0.630", "0.636"]
    found = rows_of(layouts["accuracy"], "CIFAR-10")
    assert [row[2:] for row in found if "2024" in row[1]] == [
        ["93.79 %", "94.47 %"],
        ["93.9 %", "93.6 %"],
    ]


def test_every_published_cell_tells_source_and_confidence(layouts):
    cells = [
        cell
        for layout in layouts.values()
        for row in layout.rows
        for cell in row
        if cell.kind == "published"
    ]
    assert len(cells) == 192  # 72 of the figure, 2 x 54 of areas, 2 x 6 of accuracy
    known = ("read in the source", "second hand", "recomputed from numbers")
    assert all(any(word in cell.note for word in known) for cell in cells)
    assert any(
        "as printed; insertion - deletion of the same row is 0.3956" in c.note for c in cells
    )


def test_own_cells_are_the_means_of_the_block_with_their_interval(wide, layouts):
    (block,) = [one for one in wide.blocks if not one.is_standin]
    rows = block.means.set_index(["arm", "method", "metric"])
    spec = wide.specs["deletion"]
    for arm, column in (("baseline", 4), ("lico", 5)):
        row = rows.loc[(arm, "grad_cam", "deletion")]
        (shown,) = [
            found
            for found in rows_of(layouts["insertion_deletion_cifar10"], "Grad-CAM")
            if found[1] == "This run, wrn_10_2"
        ]
        interval = formatting.mean_interval(row["low"], row["high"], spec)
        assert shown[column] == f"{row['mean']:.3f} {interval}"


def test_percent_is_said_once_in_a_cell(layouts):
    (shown,) = [row for row in rows_of(layouts["accuracy"], "CIFAR-10") if row[1][-2:] == "_2"][-1:]
    assert shown[1] == "This run, wrn_10_2"
    assert shown[2].count("%") == 1
    assert shown[2].index("%") < shown[2].index("[")


def test_each_reading_of_lico_in_the_run_has_its_own_row(layouts):
    sources = [row[1] for row in rows_of(layouts["accuracy"], "CIFAR-10")]
    assert sources[-2:] == ["This run, wrn_10_2", "This run, wrn_10_2, lico_response"]
    assert "lico_mm" not in " ".join(sources)


@pytest.mark.parametrize(
    ("difference", "q_value", "bold"),
    [
        (0.1, 0.01, ("lico",)),
        (-0.1, 0.01, ("baseline",)),
        (0.1, 0.2, ()),
        (0.1, np.nan, ()),
        (0.0, 0.01, ()),
    ],
)
def test_bold_is_what_is_better_after_correction(wide, difference, q_value, bold):
    numbers = {
        "difference": difference, "low": difference - 0.05, "high": difference + 0.05,
        "q_value": q_value,
    }  # fmt: skip
    found = rebuilt(wide, differences=numbers)
    for name in ("insertion_deletion_cifar10", "accuracy"):
        own = [row for row in found[name].rows if row[-1].kind == "ours"]
        for row in own:
            columns = dict(zip(found[name].columns, row, strict=True))
            for head, cell in columns.items():
                if cell.kind == "ours":
                    turned = {"Baseline": "lico", "LICO": "baseline"} if "Deletion" in head else {
                        "Baseline": "baseline", "LICO": "lico"
                    }  # fmt: skip
                    assert cell.is_bold == (turned[head.split("\n")[-1]] in bold), head


def test_an_ablation_marks_the_better_arms_and_never_the_baseline(wide):
    numbers = {"difference": 0.1, "low": 0.05, "high": 0.15, "q_value": 0.01}
    layout = rebuilt(wide, differences=numbers)["ablation"]
    assert layout.columns[-4:] == ("Baseline", "MM only", "OT only", "LICO")
    own = {tuple(c.text for c in row[1:3]): row for row in layout.rows if row[-1].kind == "ours"}
    assert set(own) == {
        ("Model", "Accuracy ↑"), ("Grad-CAM", "Insertion ↑"), ("Grad-CAM", "Deletion ↓"),
        ("Grad-CAM", "Overall ↑"),
    }  # fmt: skip
    marks = {key[1]: [cell.is_bold for cell in row[-4:]] for key, row in own.items()}
    assert marks["Insertion ↑"] == [False, True, True, True]
    assert marks["Deletion ↓"] == [False] * 4  # larger is worse
    assert "q 0.010: better" in own[("Grad-CAM", "Insertion ↑")][-1].note


@pytest.mark.parametrize(
    ("changes", "name", "labels"),
    [
        ({}, "accuracy", ("CIFAR-10",)),
        ({"labels": "250"}, "limited_labels", ("CIFAR-10", "250")),
        ({"labels": "77"}, "limited_labels", ("CIFAR-10", "77")),
        ({"dataset": "cub200"}, "fine_grained", ("CUB-200-2011",)),
        ({"dataset": "mine"}, "accuracy", ("mine",)),
        ({"dataset": "cub200", "labels": "400"}, "limited_labels", ("CUB-200-2011", "400")),
    ],
)
def test_accuracy_goes_into_the_table_of_its_data_and_budget(wide, changes, name, labels):
    found = rebuilt(wide, **changes)
    for other in ("accuracy", "limited_labels", "fine_grained"):
        own = [row for row in found[other].rows if row[-1].kind == "ours"]
        assert bool(own) == (other == name), other
    assert [row for row in rows_of(found[name], *labels) if "This run, wrn_10_2" in row]


def test_the_number_of_tokens_is_that_of_the_trained_models(wide):
    cells = tuple(
        replace(cell, options={"num_context": 4}) if cell.recipe.arm == "lico" else cell
        for cell in wide.manifest.cells
    )
    layout = rebuilt(replace(wide, manifest=replace(wide.manifest, cells=cells)))["tokens"]
    assert rows_of(layout, "ImageNet-1k", "12")
    (own,) = rows_of(layout, "CIFAR-10", "4")
    assert own[2] == "This run, wrn_10_2"


def test_options_of_a_method_are_told_and_do_not_part_it_from_the_published(wide):
    (block,) = [one for one in wide.blocks if not one.is_standin]
    named = {"method": block.means["method"].replace("grad_cam", "rise(num_masks=32)")}
    content = replace(wide, rows=wide.rows.assign(method=wide.rows["method"].astype(str).replace(
        "grad_cam", "rise(num_masks=32)"
    )))  # fmt: skip
    rows = rows_of(rebuilt(content, means=named)["insertion_deletion_cifar10"], "RISE")
    assert rows[-2][1] == "This run, wrn_10_2, num_masks=32"


def test_a_score_without_a_value_is_a_dash_with_its_reason(wide):
    empty = {"mean": np.nan, "low": np.nan, "high": np.nan, "note": "every image was skipped"}
    layout = rebuilt(wide, means=empty)["accuracy"]
    cells = [cell for row in layout.rows for cell in row if "every image" in cell.note]
    assert {(cell.text, cell.kind) for cell in cells} == {("–", "empty")}
    assert "nan" not in " ".join(cell.text for row in layout.rows for cell in row)


def test_names_of_forms_are_those_of_registries_and_cards():
    titles = {name: load_card(name).title for name in card_names()}
    assert titles.items() <= dict(paper_values.DATASETS).items()
    methods = {name: SALIENCY[name].title for name in SALIENCY}
    assert {k: v for k, v in paper_values.METHODS.items() if k}.items() <= methods.items()
    for name, spec in paper_values.SPECS.items():
        if name in METRICS:
            known = METRICS[name].spec
            message = (spec.title, spec.higher_is_better, spec.bounds, spec.unit)
            assert message == (known.title, known.higher_is_better, known.bounds, known.unit)
    assert {arm for table in paper_values.TABLE_SPECS for arm in table.arms} <= set(ARMS)
    assert pd.Series([table.name for table in paper_values.TABLE_SPECS]).is_unique
