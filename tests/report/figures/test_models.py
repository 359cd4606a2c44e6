"""Figures of the trained models."""

from __future__ import annotations

from lico_bench.report.figures.models import draw_scatter, draw_seeds


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
