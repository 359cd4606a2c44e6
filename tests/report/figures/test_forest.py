"""Forest plots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lico_bench.claims import Claim, ClaimVerdict
from lico_bench.report.figures.forest import MAX_LINES, draw_forests


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
