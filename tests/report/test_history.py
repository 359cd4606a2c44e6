"""Several runs beside each other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import fake_run
import pandas as pd
import pytest
from fake_run import make_run

from lico_bench.cli import main
from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.report.figures.canvas import Plot
from lico_bench.report.history import RUN_SERIES, gather_history
from lico_bench.report.history_page import HistoryPaths, build_history, draw_history, render_history
from lico_bench.stats import arm_means
from lico_bench.store import RunFolder, read_json
from tests.manifests import change_manifest

OLD, NEW = "lico_bench_1@1a2b3c4d", "lico_bench_1@99999999"


def dated(run, day, **changes):
    """The run with another start, and other facts, in its manifest."""
    changes["started"] = f"2026-11-{day:02d}T10:00:00+00:00"
    change_manifest(run, lambda manifest: manifest.update(changes))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs, the first two by one protocol, the last by another; not to be changed."""
    path = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        made = []
        for day, protocol in ((1, OLD), (2, OLD), (3, NEW)):
            patch.setattr(fake_run, "PROTOCOL", protocol)
            run = make_run(
                path / f"run{day}", datasets={"cub200": "standin"}, num_test=30, num_explained=10,
                draw=day,
            )  # fmt: skip
            made.append(dated(run, day))
    return made


@pytest.fixture(scope="module")
def history(runs):
    return gather_history([runs[2], runs[0], runs[1]])


@pytest.fixture
def figures(monkeypatch):
    """Figures by name as they are handed over to be saved; no files are made of them."""
    seen = {}

    def keep(figure, name, **facts):
        seen[name] = figure
        return Plot(name, png=b"", pdf=b"", **facts)

    monkeypatch.setattr("lico_bench.report.figures.canvas.save_plot", keep)
    return seen


@pytest.mark.slow
def test_runs_come_in_the_order_of_their_start_with_the_means_of_the_statistics_room(history, runs):
    assert [run.name for run in history.runs] == ["run1", "run2", "run3"]
    found = history.means[history.means["run"] == "run2"].set_index(list(RUN_SERIES))["mean"]
    expected = arm_means(runs[1].rows()).set_index(list(RUN_SERIES))["mean"]
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index())


def test_rows_of_two_protocols_share_neither_a_table_nor_a_line(history, figures):
    page = render_history(history, [])
    tables = re.findall(r"<h3>(.*?)</h3>.*?<thead>(.*?)</thead>", page, flags=re.DOTALL)
    runs_of = {title: re.findall(r"run\d", head) for title, head in tables}
    assert runs_of[OLD] == ["run1", "run2"]
    assert runs_of[NEW] == ["run3"]
    assert runs_of["Model scores"] == ["run1", "run2", "run3"]
    list(draw_history(history))
    by_score = {name.partition("_")[2][3:]: figure for name, figure in figures.items()}
    for score, count in (("grad_cam_insertion", 2), ("model_accuracy", 3)):
        (axes,) = by_score[score].axes
        assert [len(line.get_xdata()) for line in axes.lines] == [count, count]
    assert any("insertion" in note and OLD in note and NEW in note for note in history.notes)


def test_a_line_shows_the_means_and_intervals_of_its_series(history, figures):
    list(draw_history(history))
    figure = next(figure for name, figure in figures.items() if name.endswith("grad_cam_overall"))
    means = history.means
    means = means[(means["metric"] == "overall") & (means["method"] == "grad_cam")]
    for line, arm in zip(figure.axes[0].lines, ("baseline", "lico"), strict=True):
        rows = means[(means["arm"] == arm) & (means["protocol"] == OLD)]
        assert list(line.get_ydata()) == pytest.approx(rows["mean"].tolist())


def test_stand_ins_are_marked_on_the_page_and_in_the_plots(history, figures):
    page = render_history(history, [])
    assert "say nothing about the real datasets" in page
    assert page.count('class="tag">STAND-IN') > len(history.means) / 3
    list(draw_history(history))
    assert all(
        axes.get_title().startswith("STAND-IN\n")
        for figure in figures.values()
        for axes in figure.axes
    )


@pytest.mark.slow
def test_other_images_and_other_training_are_told(tmp_path, runs):
    other = make_run(
        tmp_path / "other", datasets={"cub200": "standin"}, num_test=30, num_explained=10
    )
    manifest = read_json(other.manifest_path)
    manifest["datasets"]["cub200"]["fingerprint"] = "ffff"
    for cell in manifest["cells"]:
        cell["recipe"]["epochs"] = 99
    dated(other, 9, datasets=manifest["datasets"], cells=manifest["cells"])
    notes = " ".join(gather_history([runs[0], other]).notes)
    assert "images of cub200 (standin) are not the same in all runs" in notes
    assert "epochs is 15 in run1; 99 in other" in notes


@pytest.mark.slow
def test_history_is_written_beside_no_run_and_replaces_its_own_files_only(tmp_path, runs):
    out = tmp_path / "history"
    kept, stale = out / "figures" / "mine.png", out / "figures" / "history_99_old.png"
    for path in (kept, stale):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    paths = build_history(runs[:2], out)
    page = paths.html.read_text()
    assert kept.exists()
    assert not stale.exists()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert set(pd.read_csv(paths.table)["run"]) == {"run1", "run2"}
    assert {path.suffix for path in paths.figures} == {".png", ".pdf"}
    with pytest.raises(InvalidInputError, match=r"outside of every run, but .*run1 is a run"):
        build_history(runs[:2], runs[0].path / "report" / "history")


def test_names_of_runs_are_escaped(tmp_path, runs):
    hostile = dated(
        make_run(
            tmp_path / "<script>alert(1)<", datasets={"cub200": "standin"}, seeds=1, num_test=12,
            num_explained=4,
        ),
        5,
    )  # fmt: skip
    page = render_history(gather_history([runs[0], hostile]), [])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_same_run_twice_and_a_copy_of_it_are_errors(tmp_path, runs):
    with pytest.raises(InvalidInputError, match=r"got the run .*run1 twice"):
        gather_history([runs[0], RunFolder(runs[0].path / ".." / "run1")])
    copy = make_run(
        tmp_path / "copy", datasets={"cub200": "standin"}, seeds=1, num_test=12, num_explained=4
    )
    dated(copy, 1)
    with pytest.raises(InvalidInputError, match=r"copy is the same run as .*run1"):
        gather_history([runs[0], copy])


def test_runs_without_anything_in_common_say_in_what_they_differ(tmp_path, runs):
    other = make_run(
        tmp_path / "other", datasets={"flowers": "standin"}, seeds=1, num_test=12, num_explained=4
    )
    with pytest.raises(NotComparableError, match=r"no dataset in common \(run1: cub200; other: fl"):
        gather_history([runs[0], dated(other, 7)])


def test_folders_of_one_name_are_told_apart(tmp_path, runs):
    other = make_run(
        tmp_path / "run1", datasets={"cub200": "standin"}, seeds=1, num_test=12, num_explained=4
    )
    names = [run.name for run in gather_history([runs[0], dated(other, 8)]).runs]
    assert names == [f"{run.path.parent.name}/run1" for run in (runs[0], other)]


def test_command_line_takes_several_runs_and_keeps_the_report_of_one(
    tmp_path, runs, monkeypatch, capsys
):
    requested = []

    def keep(folders, out):
        requested.append(([one.path for one in folders], out))
        return HistoryPaths(out, out / "history.html", out / "history.csv", ())

    monkeypatch.setattr("lico_bench.report.build_history", keep)
    monkeypatch.setattr(sys, "argv", ["lico-bench", "report", *(str(run.path) for run in runs)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert requested == [([run.path for run in runs], Path("results/history"))]
    assert "History: results/history/history.html" in capsys.readouterr().out
