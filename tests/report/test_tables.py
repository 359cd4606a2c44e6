"""Tables of claims and scores, read in LaTeX."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from lico_bench.report.gathering import gather
from lico_bench.report.latex import draw_tables
from tests.report.fake_run import make_run


def test_claims_come_first_then_the_papers_tables_then_every_method(tables):
    names = list(tables)
    assert names[0] == "claims"
    assert names[1] == "layout_insertion_deletion_imagenet"
    assert names[-5:] == [
        "model_lico", "grad_cam_lico", "grad_cam_lico_both_correct", "random_map_lico",
        "random_map_lico_both_correct",
    ]  # fmt: skip
    assert all(name.startswith("layout_") for name in names[1:-5])


def test_row_reads_means_difference_interval_p_and_images(tables):
    signed = r"(\$-\$|\+)0\.\d{3}"
    assert re.search(
        r"\\quad Deletion \$\\downarrow\$ & 0\.\d{3} & 0\.\d{3} & "
        rf"(\\textbf{{)?{signed}}}? & \[{signed}, {signed}\] & "
        r"(0\.\d{3}|\$<\$ 0\.001) & 40 \\tabularnewline",
        tables["grad_cam_lico"],
    )
    assert r"\textit{CUB-200-2011 stand-in} \textbf{[STAND-IN]}" in tables["grad_cam_lico"]
    assert "& q &" in tables["grad_cam_lico"]


def test_notes_tell_data_protocol_units_and_what_bold_means(content, tables):
    text = tables["grad_cam_lico"]
    assert "test 2,000 of 10,000" in text
    assert re.search(r"Protocols: lico\\_(\\allowbreak\{\})?bench\\_", text)
    assert r"Units: Insertion $\uparrow$, Deletion $\downarrow$, Overall $\uparrow$: probab" in text
    assert "false-discovery rate over the 4 differences on real images" in text
    assert "separately over the 5 on stand-ins" in text
    assert "Protocol" not in tables["model_lico"]


@pytest.mark.parametrize(
    ("q_value", "shown", "is_bold"),
    [(0.0004, "$<$ 0.001", True), (0.049, "0.049", True), (0.05, "0.050", False),
     (np.nan, "--", False)],
)  # fmt: skip
def test_bold_and_p_follow_the_corrected_p_value(content, q_value, shown, is_bold):
    (block,) = [one for one in content.blocks if not one.is_standin]
    block = replace(block, differences=block.differences.assign(q_value=q_value))
    found = {t.name: t.text for t in draw_tables(replace(content, blocks=(block,)))}
    line = next(x for x in found["grad_cam_lico"].splitlines() if x.startswith(r"\quad Insertion"))
    assert f"& {shown} & 40" in line
    assert (r"\textbf" in line) == is_bold
    assert r"\textbf" not in found["grad_cam_lico_both_correct"]


def test_images_that_both_get_right_have_no_p_column(tables):
    text = tables["grad_cam_lico_both_correct"]
    assert "& q &" not in text
    assert "Not among the differences that are tested" in text


def test_one_arm_gives_tables_of_means(tmp_path):
    content = gather(make_run(tmp_path / "run", arms=("lico",), datasets={"cifar10": "real"}))
    tables = [t for t in draw_tables(content) if not re.match("layout|claims", t.name)]
    assert [table.name for table in tables] == ["model", "grad_cam", "random_map"]
    assert "Difference" not in tables[0].text
    assert "STAND-IN" not in tables[0].text


def test_claims_tell_verdict_and_evidence_and_count_stand_ins(tables):
    text = tables["claims"]
    assert r"\textbf{improvement}" in text
    assert r"CIFAR-10, wrn\_10\_2, Grad-CAM (2,000 images, 5 seeds): improvement; gain" in text
    assert "In verdicts.json: 1 stand-in comparison." in text
    assert "Claimed in Lei et al., 2023." in text


def test_no_claims_no_table_of_claims(content):
    names = [table.name for table in draw_tables(replace(content, claims=()))]
    assert "claims" not in names
