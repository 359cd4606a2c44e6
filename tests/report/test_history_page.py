"""The page and figures of several runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from lico_bench.cli import main
from lico_bench.errors import InvalidInputError
from lico_bench.report.history import gather_history
from lico_bench.report.history_page import HistoryPaths, build_history, draw_history, render_history
from tests.report.dated_runs import NEW, OLD, dated
from tests.report.fake_run import make_run


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
