from __future__ import annotations

from dataclasses import replace

from lico_bench.claims.published import read_published
from lico_bench.report.gathering import gather
from lico_bench.report.paper_tables import paper_tables
from tests.report.fake_run import PROTOCOL, make_run
from tests.report.paper_layouts import rebuilt, rows_of, short

KINDS = {"label", "published", "ours", "missing", "empty"}


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


def test_the_pointing_game_shows_the_runs_own_data_below_the_papers(wide):
    layout = rebuilt(wide, keep="cub200", source="real")["pointing_game"]
    assert rows_of(layout, "COCO 2017", "Grad-CAM", "Pointing game ↑")
    (own,) = [row for row in rows_of(layout, "CUB-200-2011") if row[3] == "This run, wrn_10_2"]
    assert own[1:3] == ["Grad-CAM", "Pointing game ↑"]
    assert "%" in own[4]


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
