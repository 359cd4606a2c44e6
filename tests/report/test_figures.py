from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fake_run import make_run
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lico_bench.claims import Claim, ClaimVerdict
from lico_bench.report import build
from lico_bench.report.build import draw_figures
from lico_bench.report.content import ReportContent
from lico_bench.report.figures.canvas import COLOURS, Plot, font_families, plot_style
from lico_bench.report.figures.curves import draw_sanity
from lico_bench.report.figures.forest import MAX_LINES, draw_forests
from lico_bench.report.figures.maps import map_overlay
from lico_bench.report.figures.models import draw_scatter, draw_seeds
from lico_bench.report.gathering import gather

SETTING_KEYS = ("cifar10_wrn_10_2", "cub200_standin_wrn_10_2")


@pytest.fixture
def figures(monkeypatch):
    """Figures by name as they are handed over to be saved; no files are made of them."""
    seen = {}

    def keep(figure, name, **facts):
        seen[name] = figure
        return Plot(name, png=b"", pdf=b"", **facts)

    for room in ("canvas", "forest", "maps"):
        monkeypatch.setattr(f"lico_bench.report.figures.{room}.save_plot", keep)
    return seen


@pytest.mark.slow
def test_figures_are_the_same_whatever_the_user_has_set(content):
    theirs = {
        "font.family": ["nonexistent"], "savefig.dpi": 5, "axes.unicode_minus": False,
        "figure.autolayout": True, "savefig.bbox": "tight", "pdf.fonttype": 3, "lines.linewidth": 9,
        "text.usetex": True, "backend": "TkAgg", "axes.prop_cycle": mpl.cycler(color=["red"]),
    }  # fmt: skip
    plain = next(iter(draw_figures(content)))
    with mpl.rc_context(theirs):
        other = next(iter(draw_figures(content)))
    assert (other.name, other.png, other.pdf) == (plain.name, plain.png, plain.pdf)


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


def test_lines_come_in_few_colours_that_are_theirs_and_images_in_all(report):
    modes = {}
    for path in (path for path in report.figures if path.suffix == ".png"):
        with Image.open(path) as image:
            modes.setdefault(path.stem.split("_")[0], set()).add(image.mode)
            if image.mode == "P":
                shown = {colour for _, colour in image.convert("RGB").getcolors()}
                assert (255, 255, 255) in shown
                assert shown & {tuple(bytes.fromhex(one[1:])) for one in COLOURS}
    assert modes["gallery"] == {"RGBA"}
    assert modes["forest"] == modes["training"] == {"P"}


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


def test_equal_rows_give_equal_files_without_dates(content, report):
    again = next(draw_figures(content))
    files = {path.name: path for path in report.figures}
    assert again.png == files[f"{again.name}.png"].read_bytes()
    assert again.pdf == files[f"{again.name}.pdf"].read_bytes()
    assert b"CreationDate" not in again.pdf


def test_heat_is_brightest_and_least_transparent_where_the_map_is_highest():
    values = np.zeros((4, 5), dtype=np.float32)
    values[2, 3] = 7.0
    pixels = map_overlay(values)
    assert pixels.shape == (4, 5, 4)
    assert np.unravel_index(pixels[..., :3].sum(2).argmax(), (4, 5)) == (2, 3)
    assert np.unravel_index(pixels[..., 3].argmax(), (4, 5)) == (2, 3)


def test_flat_map_is_drawn_without_a_warning():
    flat = np.full((2, 3), 0.5, dtype=np.float32)
    assert len(np.unique(map_overlay(flat).reshape(-1, 4), axis=0)) == 1


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


def test_seeds_join_the_two_models_of_each_pair(content, figures):
    list(draw_seeds(content))
    means = content.blocks[0].means.set_index(["metric", "arm"])["per_seed"]["accuracy"]
    axes = figures["seeds_accuracy"].axes[0]
    joined = {tuple(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 2
              and line.get_linestyle() == "-"}  # fmt: skip
    expected = zip(means["baseline"], means["lico"], strict=True)
    assert joined == {(100 * one, 100 * other) for one, other in expected}


def test_scatter_has_a_point_per_trained_model(content, figures):
    list(draw_scatter(content))
    for axes, block in zip(figures["scatter_grad_cam_overall"].axes, content.blocks, strict=True):
        points = [line for line in axes.lines if line.get_linestyle() == "None"]
        drawn = {xy for line in points for xy in zip(*line.get_data(), strict=True)}
        means = block.means.set_index(["method", "metric", "arm"])["per_seed"]
        expected = {
            (100 * x, y)
            for arm in content.arms
            for x, y in zip(
                means["", "accuracy", arm], means["grad_cam", "overall", arm], strict=True
            )
        }
        assert drawn == expected


def test_no_axis_makes_a_cliff_of_a_tiny_difference(content, figures):
    list(draw_seeds(content))
    for name, least in (("seeds_accuracy", 2), ("seeds_grad_cam_overall", 0.02)):
        for axes in figures[name].axes:
            low, high = axes.get_ylim()
            assert high - low >= least * (1 - 1e-9)


def with_forest(content, q_value, **changes):
    blocks = [
        replace(block, differences=block.differences.assign(q_value=q_value))
        for block in content.blocks
    ]
    return replace(content, blocks=tuple(blocks), **changes)


@pytest.mark.parametrize(("q_value", "is_filled"), [(0.049, True), (0.05, False), (np.nan, False)])
def test_forest_fills_the_markers_of_what_is_significant(content, figures, q_value, is_filled):
    list(draw_forests(with_forest(content, q_value)))
    axes = figures["forest_grad_cam"].axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "s"]
    assert len(marks) == 6  # three scores of two datasets
    assert {line.get_markerfacecolor() != "white" for line in marks} == {is_filled}


def test_forest_bands_the_smallest_effect_of_what_a_claim_is_about(content, figures):
    claim = Claim(
        id="x", title="", statement="", source="", arm="lico", reference_arm="baseline",
        metric="insertion", direction="better", smallest_effect=0.013, methods=("grad_cam",),
        datasets=("cifar10",),
    )  # fmt: skip
    claimed = with_forest(content, 1.0, claims=(ClaimVerdict(claim, "inconclusive", ""),))
    list(draw_forests(claimed))
    (band,) = figures["forest_grad_cam"].axes[0].patches
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.013, 0.026))
    assert not figures["forest_model_shares"].axes[0].patches
    figures.clear()
    list(draw_forests(with_forest(content, 1.0, claims=())))
    assert not figures["forest_grad_cam"].axes[0].patches


def test_long_forest_is_cut_into_sheets_and_says_what_is_left_out(content, figures):
    block = content.blocks[0]
    many = tuple(replace(block, title=f"Data set {k}") for k in range(2 * MAX_LINES))
    message = list(draw_forests(with_forest(replace(content, blocks=many), 1.0)))
    sheets = [plot for plot in message if plot.name.startswith("forest_grad_cam_")]
    assert [plot.name for plot in sheets] == [f"forest_grad_cam_{k}" for k in (1, 2, 3)]
    assert all(figures[plot.name].get_size_inches()[1] < 11.7 for plot in sheets)  # A4
    shown = sum(
        line.get_marker() == "s" for plot in sheets for line in figures[plot.name].axes[0].lines
    )
    assert f"{3 * len(many) - shown:,} further differences did not fit" in sheets[-1].caption


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


SUBSET_FONT, FULL_FONT = "Plot Sans", "DejaVu Sans"


def drawn(families: list[str], text: str, kind: str) -> bytes:
    with mpl.rc_context({"font.family": families, "pdf.fonttype": 42}):
        figure, stream = Figure(figsize=(3, 1)), io.BytesIO()
        FigureCanvasAgg(figure)
        figure.text(0.05, 0.6, text)
        figure.text(0.05, 0.2, text, fontweight="bold")
        figure.savefig(stream, format=kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text", ["AVATAR – efficient, ±0.5 τ ≤ 3", "Größe: 95 % [−0.01, +0.02]", "猫 ж"]
)
@pytest.mark.filterwarnings("ignore:Glyph")  # no font here has the cat
def test_plots_look_the_same(text):
    assert font_families() == (SUBSET_FONT, FULL_FONT)
    assert drawn([SUBSET_FONT, FULL_FONT], text, "png") == drawn([FULL_FONT], text, "png")


def test_files_hold_the_light_font_and_the_whole_one_only_for_other_signs():
    font_families()
    assert b"PlotSans" in drawn([SUBSET_FONT, FULL_FONT], "plain", "pdf")
    assert b"DejaVuSans" not in drawn([SUBSET_FONT, FULL_FONT], "plain", "pdf")
    assert b"DejaVuSans" in drawn([SUBSET_FONT, FULL_FONT], "plain ж", "pdf")


ENDS = {"grad_cam": 0.2, "random_map": 1.0}


@pytest.fixture(scope="module")
def cascading(tmp_path_factory) -> ReportContent:
    path = tmp_path_factory.mktemp("sanity") / "run"
    return gather(
        make_run(path, seeds=1, num_test=6, num_explained=4, datasets={"cub200": "standin"})
    )


def cascades_of(content: ReportContent, *, stages: int = 6) -> pd.DataFrame:
    """The run's curves as if they were cascades."""
    rng = np.random.default_rng(0)
    curves = content.run.curves()
    cascades = curves[curves["curve"] == "insertion"].assign(curve="cascade")
    cascades["fractions"] = [np.linspace(0, 1, stages + 1)] * len(cascades)
    cascades["values"] = [falling(rng, ENDS[method], stages) for method in cascades["method"]]
    return cascades


def falling(rng: np.random.Generator, end: float, stages: int) -> np.ndarray:
    steps = np.arange(stages + 1)
    values = end + (1 - end) * np.exp(-steps) + (1 - end) * 0.2 * rng.standard_normal(stages + 1)
    values[0] = 1
    return values.clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("stages", [1, 6, 8])
def test_cascades_of_any_length_become_a_figure(cascading, stages: int):
    with plot_style():
        (plot,) = draw_sanity(cascading, cascading.blocks[0], cascades_of(cascading, stages=stages))
    assert plot.name == "sanity_cub200_standin_wrn_10_2"
    assert plot.title.startswith("STAND-IN ")
    assert plot.pdf.startswith(b"%PDF-")
    with Image.open(io.BytesIO(plot.png)) as image:
        assert min(image.size) > 150
        assert np.asarray(image.convert("L")).std() > 5


def test_equal_rows_give_equal_files(cascading):
    with plot_style():
        first, again = (
            next(draw_sanity(cascading, cascading.blocks[0], cascades_of(cascading)))
            for _ in range(2)
        )
    assert first == again


def test_no_cascades_make_no_figure(cascading):
    nothing = cascades_of(cascading)[:0]
    assert not list(draw_sanity(cascading, cascading.blocks[0], nothing))


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
