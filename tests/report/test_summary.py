from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from lico_bench.report import formatting, summary_table
from tests.report.fake_run import make_run


def text_of(run, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(summary_table(run))
    return console.export_text()


def test_every_difference_stands_in_the_table_with_its_interval(run, content):
    text = text_of(run)
    for block in content.blocks:
        for _, row in block.differences.iterrows():
            spec = content.specs[row["metric"]]
            message = formatting.difference(row["difference"], row["low"], row["high"], spec)
            assert all(one in text for one in message)
            assert formatting.value(row["mean_reference"], spec) in text


def test_standin_is_labelled_loudly_and_real_data_is_not(run, tmp_path):
    assert " STAND-IN  CUB-200-2011 stand-in" in text_of(run)
    real = make_run(tmp_path / "run", datasets={"cifar10": "real"})
    assert "STAND-IN" not in text_of(real)


@pytest.mark.parametrize("arms", [("baseline", "lico"), ("baseline", "lico", "lico_mm"), ("lico",)])
def test_summary_fits_80_columns_without_cutting_a_number(tmp_path, arms):
    run = make_run(tmp_path / "run", arms=arms, datasets={"cub200": "standin"})
    text = text_of(run)
    assert max(map(len, text.splitlines())) <= 80
    numbers = [line for line in text.splitlines() if "[" in line and "Brackets" not in line]
    assert numbers
    assert all("]" in line and "…" not in line for line in numbers)


@pytest.mark.slow
def test_names_of_many_arms_are_not_broken(tmp_path):
    longest = "x" * len("LICO, authors' response")
    arms = ("baseline", "lico", "lico_random_text", longest)
    run = make_run(tmp_path / "run", arms=arms, datasets={"cub200": "standin"})
    lines = text_of(run).splitlines()
    for title in ("lico_random_text", longest):
        assert sum(line.startswith(f"   {title} ") and "[" in line for line in lines) > 3
    (scores,) = (line for line in lines if "Score of Baseline, arm" in line)
    insertion = lines[lines.index(scores) :]
    assert any(re.fullmatch(r"  Insertion ↑ +0\.\d+ *", line) for line in insertion)


def test_claims_that_were_tested_stand_under_the_table_and_the_others_are_counted(run, content):
    text = " ".join(text_of(run, width=200).split())
    tested = [one for one in content.claims if one.outcome != "not_tested"]
    assert tested
    for one in tested:
        assert one.claim.title in text
        reason = one.sentence.removeprefix(one.outcome).lstrip(": ")
        assert " ".join(reason.split()[:4]) in text
    silent = len(content.claims) - len(tested)
    assert f"not tested by this run: {silent} of {len(content.claims)}" in text


def test_protocol_and_seeds_are_told(run):
    text = text_of(run)
    assert "lico_bench_1@1a2b3c4d" in text
    assert "2 seeds say little about the spread" in text


@pytest.mark.slow
def test_eight_datasets_come_in_their_order(tmp_path):
    names = ["imagenet", "cifar10", "cifar100", "svhn", "cub200", "cars", "aircraft", "flowers"]
    run = make_run(
        tmp_path / "run", datasets=dict.fromkeys(names, "standin"), seeds=1, num_test=20,
        num_explained=5,
    )  # fmt: skip
    text = text_of(run)
    titles = ["imagenet", "CIFAR-10 ", "cifar100", "svhn", "CUB-200", "cars", "aircraft", "Flowers"]
    places = [text.index(f"STAND-IN  {title}") for title in titles]
    assert places == sorted(places)
