"""The cascade of the sanity check as a figure."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from fake_run import make_run
from PIL import Image

from lico_bench.report import build
from lico_bench.report.content import ReportContent
from lico_bench.report.figures.canvas import plot_style
from lico_bench.report.figures.curves import draw_sanity
from lico_bench.report.gathering import gather

ENDS = {"grad_cam": 0.2, "random_map": 1.0}


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> ReportContent:
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
def test_cascades_of_any_length_become_a_figure(content, stages: int):
    with plot_style():
        (plot,) = draw_sanity(content, content.blocks[0], cascades_of(content, stages=stages))
    assert plot.name == "sanity_cub200_standin_wrn_10_2"
    assert plot.title.startswith("STAND-IN ")
    assert plot.pdf.startswith(b"%PDF-")
    with Image.open(io.BytesIO(plot.png)) as image:
        assert min(image.size) > 150
        assert np.asarray(image.convert("L")).std() > 5


def test_equal_rows_give_equal_files(content):
    with plot_style():
        first, again = (
            next(draw_sanity(content, content.blocks[0], cascades_of(content))) for _ in range(2)
        )
    assert first == again


def test_no_cascades_make_no_figure(content):
    nothing = cascades_of(content)[:0]
    assert not list(draw_sanity(content, content.blocks[0], nothing))


def test_each_figure_gets_its_own_curves(content, monkeypatch):
    seen = {}
    for name in ("draw_curves", "draw_sanity"):
        monkeypatch.setattr(
            build, name, lambda _c, _b, curves, name=name: seen.update({name: curves}) or iter(())
        )
    for name in ("draw_forests", "draw_seeds", "draw_scatter", "draw_galleries", "draw_training"):
        monkeypatch.setattr(build, name, lambda *_: iter(()))
    both = pd.concat([content.run.curves(), cascades_of(content)])
    monkeypatch.setattr(type(content.run), "curves", lambda *_: both)
    assert not list(build.draw_figures(content))
    assert set(seen["draw_curves"]["curve"]) == {"insertion", "deletion"}
    assert set(seen["draw_sanity"]["curve"]) == {"cascade"}
