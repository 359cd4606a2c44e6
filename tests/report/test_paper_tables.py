from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_run import PROTOCOL, make_run

from lico_bench.claims.published import read_published
from lico_bench.data.cards import card_names, load_card
from lico_bench.metrics import METRICS
from lico_bench.report import formatting, paper_values
from lico_bench.report.gathering import gather
from lico_bench.report.paper_tables import paper_tables
from lico_bench.saliency import SALIENCY
from lico_bench.training import ARMS

ARMS_SHOWN = ("baseline", "lico", "lico_mm", "lico_ot", "lico_response")
KINDS = {"label", "published", "ours", "missing", "empty"}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A real CIFAR-10 and a stand-in of CUB-200 under the arms that the forms ask for."""
    run = make_run(
        tmp_path_factory.mktemp("layouts") / "run",
        arms=ARMS_SHOWN,
        seeds=1,
        num_test=20,
        num_explained=8,
    )
    return gather(run)


def short(layout):
    return layout.name.removeprefix("layout_")


@pytest.fixture(scope="module")
def layouts(wide):
    return {short(layout): layout for layout in paper_tables(wide)}


def rebuilt(content, *, keep="cifar10", means=None, differences=None, **changes):
    """The layouts of a run whose block `keep` alone is left, with fields or numbers changed."""
    (block,) = [one for one in content.blocks if one.dataset == keep]
    frames = {
        "means": block.means.assign(**(means or {})),
        "differences": block.differences.assign(**(differences or {})),
    }
    content = replace(content, blocks=(replace(block, **frames, **changes),))
    return {short(layout): layout for layout in paper_tables(content)}


def rows_of(layout, *labels):
    """Rows whose first labels are these, as texts."""
    texts = [[cell.text for cell in row] for row in layout.rows]
    return [row for row in texts if tuple(row[: len(labels)]) == labels]


def own_cells(layout):
    return [cell for row in layout.rows for cell in row if cell.kind == "ours"]


def test_every_table_of_the_paper_has_its_form(layouts):
    assert list(layouts) == [
        "insertion_deletion_imagenet", "insertion_deletion_cifar10",
        "insertion_deletion_cifar100", "insertion_deletion_imagenette", "pointing_game",
        "accuracy", "limited_labels", "fine_grained", "ablation", "tokens",
    ]  # fmt: skip
    for layout in layouts.values():
        assert layout.rows
        assert {len(row) for row in layout.rows} == {len(layout.columns)}
        assert {cell.kind for row in layout.rows for cell in row} <= KINDS


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


def test_open_numbers_are_visibly_open_and_say_how_to_fill_them_in(layouts):
    layout = layouts["limited_labels"]
    (paper, ours) = rows_of(layout, "CIFAR-100", "400")
    assert paper == ["CIFAR-100", "400", "Paper 2023", "not confirmed", "not confirmed"]
    assert ours == ["CIFAR-100", "400", "This run", "–", "–"]
    missing = [cell for row in layout.rows for cell in row if cell.kind == "missing"]
    assert len(missing) == 18
    assert all("baselines/published/README.md" in cell.note for cell in missing)
    assert any("baselines/published/paper_2023.csv" in note for note in layout.notes)


def test_a_number_that_was_filled_in_stands_in_its_place(wide):
    frame = read_published()
    place = (frame["table"] == "limited_labels") & (frame["labels"] == "400")
    frame.loc[place & (frame["arm"] == "lico"), ["value", "decimals", "confidence"]] = [
        0.2345, 4, "read",
    ]  # fmt: skip
    found = {short(layout): layout for layout in paper_tables(wide, frame)}
    paper, both = rows_of(found["limited_labels"], "CIFAR-100", "400")[:2]
    assert [paper, both] == [
        ["CIFAR-100", "400", "Paper 2023", "not confirmed", "–"],
        ["CIFAR-100", "400", "Paper 2023, wrn_28_8", "–", "23.45 %"],
    ]


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


def test_stand_ins_never_stand_beside_published_numbers(wide):
    drawn = [replace(block, source="standin") for block in wide.blocks]
    layouts = paper_tables(replace(wide, blocks=tuple(drawn)))
    assert not [cell for layout in layouts for cell in own_cells(layout)]
    shown = {short(layout): layout for layout in layouts}
    (row,) = [r for r in shown["fine_grained"].rows if "STAND-IN" in r[1].text]
    assert [cell.text for cell in row] == ["CUB-200-2011", "This run, STAND-IN", "–", "–"]
    assert "stand-ins" in row[2].note
    assert any("drawn stand-ins for CUB-200-2011" in note for note in shown["fine_grained"].notes)
    assert any("STAND-IN" in row[1].text for row in shown["insertion_deletion_cifar10"].rows)


def test_a_control_is_no_saliency_method(layouts):
    for layout in layouts.values():
        assert "random" not in " ".join(cell.text for row in layout.rows for cell in row).lower()


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


def test_the_pointing_game_shows_the_runs_own_data_below_the_papers(wide):
    layout = rebuilt(wide, keep="cub200", source="real")["pointing_game"]
    assert rows_of(layout, "COCO 2017", "Grad-CAM", "Pointing game ↑")
    (own,) = [row for row in rows_of(layout, "CUB-200-2011") if row[3] == "This run, wrn_10_2"]
    assert own[1:3] == ["Grad-CAM", "Pointing game ↑"]
    assert "%" in own[4]


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


def test_what_stops_a_comparison_is_said_with_protocols_images_and_backbones(layouts):
    (note,) = [
        note
        for note in layouts["insertion_deletion_cifar10"].notes
        if note.startswith("Not comparable one to one")
    ]
    assert f"this run scores by {PROTOCOL}, they by fletcher_2024" in note
    assert "8 of 10,000 test images of CIFAR-10" in note
    assert "this run trains wrn_10_2, they wrn_28_2" in note
    assert not [
        note for note in layouts["insertion_deletion_cifar100"].notes if "one to one" in note
    ]


def test_nothing_stops_a_comparison_under_the_same_rules(wide):
    found = rebuilt(
        wide,
        backbone="wrn_28_2",
        means={"protocol": "fletcher_2024@fc8600ba", "num_images": 10_000},
    )
    notes = found["insertion_deletion_cifar10"].notes
    assert not [note for note in notes if "one to one" in note]


def test_a_run_of_one_arm_fills_its_own_column(tmp_path):
    run = make_run(
        tmp_path / "run", arms=("baseline",), datasets={"cifar10": "real"}, num_test=10,
        num_explained=4,
    )  # fmt: skip
    found = {short(layout): layout for layout in paper_tables(gather(run))}
    assert rows_of(found["accuracy"], "CIFAR-10")[-1][-1] == "–"
    assert "%" in rows_of(found["accuracy"], "CIFAR-10")[-1][-2]


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
