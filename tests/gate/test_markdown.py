from __future__ import annotations

import pytest
from gated_rows import judgement

from lico_bench.gate import Verdict, markdown
from lico_bench.gate.github import MAX_LENGTH, escape
from lico_bench.gate.judgement import worst


def comment(*changes, **facts):
    ones = tuple(judgement(**change) for change in changes)
    return markdown(Verdict(worst(ones), ones, 0, **facts))


def test_verdict_comes_first_then_what_is_worse_then_the_rest_folded():
    text = comment({"outcome": "pass"}, {"outcome": "regression"}, {"outcome": "inconclusive"})
    lines = [line for line in text.splitlines() if line]
    assert lines[0].startswith("<!--")
    assert lines[1] == "### ❌ lico-bench check: regression"
    places = [
        text.index(word) for word in ("**Worse by more", "<summary>Inconclusive", "<summary>Not")
    ]
    assert places == sorted(places)
    assert text.count("<details>") == text.count("</details>") == 2


def test_a_row_has_direction_unit_interval_margin_images_and_seeds():
    text = comment({"outcome": "regression"})
    for word in (
        "cifar10 STAND-IN, lico: Deletion ↓ of grad&#95;cam (probability)", "0.400 → 0.410",
        "0.010 [−0.010, +0.030]", "| 0.050 |", "16 images, seeds 5 → 1",
    ):  # fmt: skip
        assert word in text


def test_what_was_not_compared_says_why_and_shows_no_nan():
    missing = {
        "outcome": "not_comparable", "sentence": "the run has no such score", "mean": None,
        "loss": None, "loss_low": None, "loss_high": None, "num_images": 0, "reference": None,
    }  # fmt: skip
    text = comment(missing)
    assert "the run has no such score" in text
    assert "nan" not in text.lower()


def test_notes_stand_under_the_verdict():
    assert "\n> one training\n" in comment({}, notes=("one training",))


@pytest.mark.parametrize(
    "nasty", ["a|b", "<img src=x>", "`code`", "@everyone", "#12", "[x](http://y)", ":tada:", "a\nb"]
)
def test_names_cannot_leave_their_cell(nasty):
    text = comment({"outcome": "regression", "method": nasty, "dataset": nasty})
    (row,) = [line for line in text.splitlines() if "→" in line and "Score" not in line]
    assert row.count("|") == 6
    shown = row.split("|")[1]
    for mark in ("<", ">", "`", "@", "](", "://", ":tada:"):
        assert mark not in shown
    assert "#" not in shown.replace("&#", "")


def test_escaped_text_is_the_same_to_a_reader():
    import html

    nasty = r"a|b*c_d\e`f<g>&h:i"
    assert html.unescape(escape(nasty)) == nasty


def test_a_comment_stays_within_what_github_takes():
    text = comment(*({"outcome": "regression", "sentence": "s" * 100} for _ in range(900)))
    assert len(text) <= MAX_LENGTH + 1000
    assert "more; see the JUnit file" in text
