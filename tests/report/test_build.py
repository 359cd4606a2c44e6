from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.report import build, build_report, current_report
from lico_bench.report.build import draw_figures
from lico_bench.report.gathering import gather
from lico_bench.stats import paired_differences
from lico_bench.store import RunFolder, read_json, write_json
from tests.report.cascades import cascades_of
from tests.report.fake_run import make_run


@pytest.fixture
def small_run(tmp_path):
    return make_run(
        tmp_path / "run", datasets={"cub200": "standin"}, seeds=1, num_test=30, num_explained=10
    )


def test_report_holds_what_its_paths_say_and_nothing_else(run, report):
    written = {path for path in report.folder.rglob("*") if path.is_file()}
    record = report.folder / "made_of.json"
    assert written == {report.html, report.verdicts, record, *report.tables, *report.figures}
    assert {path.suffix for path in report.figures} == {".png", ".pdf"}
    tables = {"all.tex", "means.csv", "class_means.csv", "differences.csv"}
    assert {path.name for path in report.tables} >= tables
    assert sorted(one.name for one in run.path.iterdir()) == [
        "cells", "manifest.json", "report",
    ]  # fmt: skip


def test_verdicts_carry_value_interval_protocol_and_source(run, report):
    verdicts = json.loads(report.verdicts.read_text())
    expected = paired_differences(run.rows()).set_index(["dataset", "method", "metric"])
    every = [one for one in verdicts["results"] if one["subset"] == "all"]
    assert len(every) == len(expected)
    for one in every:
        row = expected.loc[(one["dataset"], one["method"], one["metric"])]
        for name in ("difference", "low", "high", "seed_part", "image_part"):
            assert one[name] == pytest.approx(row[name])
        assert (one["source"], one["protocol"]) == (row["source"], row["protocol"])


def test_csv_holds_the_same_numbers(run, report):
    table = pd.read_csv(report.folder / "tables" / "differences.csv", keep_default_na=False)
    expected = paired_differences(run.rows())
    every = table[table["subset"] == "all"]
    assert every["difference"].astype(float).tolist() == pytest.approx(
        expected["difference"].tolist(), abs=1e-6
    )


def test_means_of_classes_are_those_of_maps_for_a_model_alone_has_no_explained_class(report):
    table = pd.read_csv(report.folder / "tables" / "class_means.csv", keep_default_na=False)
    assert set(table["method"]) == {"grad_cam", "random_map"}
    assert "pointing_game" in set(table["metric"])


@pytest.mark.slow
def test_older_report_is_replaced_whole_and_kept_if_the_new_one_fails(small_run):
    stale = small_run.path / "report" / "figures" / "stale.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"x")
    page = build_report(small_run).html.read_bytes()
    assert not stale.exists()
    verdicts = json.loads((small_run.path / "report" / "verdicts.json").read_text())
    assert verdicts["results"][0]["seed_part"] is None  # JSON knows no NaN
    key = small_run.finished()[0]
    curves = small_run.cell(key).table("curves")
    curves.write_bytes(curves.read_bytes()[:100])
    with pytest.raises(BrokenFileError, match="damaged or not a Parquet file"):
        build_report(small_run)
    assert (small_run.path / "report" / "report.html").read_bytes() == page
    assert not [one for one in small_run.path.iterdir() if one.name.startswith(".")]


def test_run_without_a_finished_cell_says_so(tmp_path, small_run):
    empty = RunFolder(tmp_path / "empty")
    empty.open_for(small_run.manifest())
    with pytest.raises(MissingDataError, match="no finished cell yet"):
        build_report(empty)
    assert not (empty.path / "report").exists()


@pytest.mark.slow
def test_a_report_is_current_while_it_is_whole_and_until_a_cell_is_stored_anew(small_run):
    assert current_report(small_run) is None
    built = build_report(small_run)
    assert current_report(small_run) == built
    page = built.html.read_bytes()
    built.html.write_bytes(page[:100] + b"!" + page[101:])
    assert current_report(small_run) is None
    built.html.write_bytes(page)
    done = small_run.cell(small_run.finished()[0]).path / "done.json"
    os.utime(done, (4e9, 4e9))  # clocks jump; they decide nothing
    assert current_report(small_run) == built
    write_json(done, read_json(done) | {"elapsed_s": 1.0})
    os.utime(done, (1e9, 1e9))
    assert current_report(small_run) is None


SETTING_KEYS = ("cifar10_wrn_10_2", "cub200_standin_wrn_10_2")


@pytest.mark.slow
def test_every_dataset_has_curves_gallery_and_training(content, figures):
    list(draw_figures(content))
    kinds = ("curves_{}_grad_cam", "gallery_{}_grad_cam", "training_{}")
    assert sorted(figures) == sorted(
        [
            "forest_grad_cam", "forest_grad_cam_shares", "forest_model_shares",
            "seeds_accuracy", "seeds_grad_cam_overall", "seeds_grad_cam_pointing_game",
            "scatter_grad_cam_overall",
            *(kind.format(key) for kind in kinds for key in SETTING_KEYS),
        ]
    )  # fmt: skip


def test_pngs_and_pdfs_of_a_report_are_images_with_ink(report):
    for path in report.figures:
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF-")
        else:
            with Image.open(path) as image:
                assert min(image.size) > 150
                assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.slow
def test_standins_are_labelled_in_every_plot(content, figures):
    for plot in draw_figures(content):
        if "standin" in plot.name:
            assert plot.title.startswith("STAND-IN ")
        elif "cifar10" in plot.name:
            assert "STAND-IN" not in plot.title
        else:  # of several datasets: at the line or panel
            texts = figures[plot.name].findobj(lambda one: hasattr(one, "get_text"))
            drawn = [text.get_text() for text in texts if "CUB-200" in text.get_text()]
            assert drawn
            assert all(text.startswith("STAND-IN") for text in drawn)


@pytest.mark.parametrize(
    "arms", [("lico",), ("baseline", *(f"another objective, {letter}" for letter in "abcdefg"))]
)
@pytest.mark.slow
def test_any_number_of_arms_can_be_drawn(tmp_path, figures, arms):
    run = make_run(
        tmp_path / "run", arms=arms, seeds=1, datasets={"cub200": "standin"}, num_test=12,
        num_explained=2,
    )  # fmt: skip
    assert {plot.kind for plot in draw_figures(gather(run))} >= {"curves", "gallery", "training"}
    for figure in figures.values():
        figure.draw_without_rendering()  # ticks are placed here
        assert figure.get_size_inches().max() < 16
        for legend in figure.legends:
            (left, bottom), (right, _) = legend.get_window_extent().get_points()
            assert left >= 0
            assert bottom >= 0
            assert right <= figure.bbox.width


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        ("lico_bench.stats, lico_bench.gate", "'matplotlib', 'torch', 'jinja2'"),
        ("lico_bench.report", "'torch', 'matplotlib.pyplot'"),
    ],
)
@pytest.mark.slow
def test_rooms_load_no_more_than_they_need(rooms, heavy):
    code = f"import sys, {rooms}; sys.exit(any(name in sys.modules for name in ({heavy})))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_figure_gets_its_own_curves(cascading, monkeypatch):
    seen = {}
    for name in ("draw_curves", "draw_sanity"):
        monkeypatch.setattr(
            build, name, lambda _c, _b, curves, name=name: seen.update({name: curves}) or iter(())
        )
    for name in ("draw_forests", "draw_seeds", "draw_scatter", "draw_galleries", "draw_training"):
        monkeypatch.setattr(build, name, lambda *_: iter(()))
    both = pd.concat([cascading.run.curves(), cascades_of(cascading)])
    monkeypatch.setattr(type(cascading.run), "curves", lambda *_: both)
    assert not list(build.draw_figures(cascading))
    assert set(seen["draw_curves"]["curve"]) == {"insertion", "deletion"}
    assert set(seen["draw_sanity"]["curve"]) == {"cascade"}
