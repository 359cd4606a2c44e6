from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from fake_run import make_run
from PIL import Image

from lico_bench.report.content import gather
from lico_bench.report.figures import draw_figures, heat_png, pictures


@pytest.fixture(scope="module")
def plots(content):
    return {plot.name: plot for plot in draw_figures(content)}


def test_every_dataset_has_curves_gallery_and_training(plots):
    assert sorted(plots) == [
        "curves_cifar10_wrn_10_2_grad_cam",
        "curves_cub200_standin_wrn_10_2_grad_cam",
        "forest_grad_cam",
        "forest_grad_cam_shares",
        "forest_model_shares",
        "gallery_cifar10_wrn_10_2_grad_cam",
        "gallery_cub200_standin_wrn_10_2_grad_cam",
        "training_cifar10_wrn_10_2",
        "training_cub200_standin_wrn_10_2",
    ]


def test_pngs_and_pdfs_are_pictures_with_ink(plots):
    for plot in plots.values():
        assert plot.pdf.startswith(b"%PDF-")
        with Image.open(io.BytesIO(plot.png)) as picture:
            assert min(picture.size) > 150
            assert np.asarray(picture.convert("L")).std() > 5


def test_standins_are_labelled_in_the_plots_title(plots):
    for name, plot in plots.items():
        if "standin" in name:
            assert plot.title.startswith("STAND-IN ")
        elif "cifar10" in name:
            assert "STAND-IN" not in plot.title


def test_equal_rows_give_equal_files_without_dates(content, plots):
    again = next(draw_figures(content))
    assert again.png == plots[again.name].png
    assert again.pdf == plots[again.name].pdf
    assert b"CreationDate" not in again.pdf


def test_pictures_hold_every_arm_of_the_first_seed(content):
    rows = pictures(content, content.blocks[0], content.run.gallery(), "grad_cam")
    assert len(rows) == 6
    assert all(set(by_arm) == {"baseline", "lico"} for by_arm in rows)
    assert {row["seed"] for by_arm in rows for row in by_arm.values()} == {0}


def test_heat_is_brightest_and_least_transparent_where_the_map_is_highest():
    values = np.zeros((4, 5), dtype=np.float32)
    values[2, 3] = 7.0
    row = {"map": values.ravel(), "height": 4, "width": 5}
    with Image.open(io.BytesIO(heat_png(row))) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (4, 5, 4)
    assert np.unravel_index(pixels[..., :3].sum(2).argmax(), (4, 5)) == (2, 3)
    assert np.unravel_index(pixels[..., 3].argmax(), (4, 5)) == (2, 3)


def test_flat_map_is_drawn_without_a_warning():
    row = {"map": np.full(6, 0.5, dtype=np.float32), "height": 2, "width": 3}
    with Image.open(io.BytesIO(heat_png(row))) as picture:
        assert len(picture.convert("RGBA").getcolors()) == 1


@pytest.mark.parametrize("arms", [("lico",), ("baseline", "a", "b", "c", "d", "e", "f", "g")])
def test_any_number_of_arms_can_be_drawn(tmp_path, arms):
    run = make_run(
        tmp_path / "run", arms=arms, seeds=1, datasets={"cub200": "standin"}, num_test=12,
        num_explained=2,
    )  # fmt: skip
    assert {plot.kind for plot in draw_figures(gather(run))} >= {"curves", "gallery", "training"}


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        ("lico_bench.stats, lico_bench.gate", "'matplotlib', 'torch', 'jinja2'"),
        ("lico_bench.report", "'torch', 'matplotlib.pyplot'"),
    ],
)
def test_rooms_load_no_more_than_they_need(rooms, heavy):
    code = f"import sys, {rooms}; sys.exit(any(name in sys.modules for name in ({heavy})))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
