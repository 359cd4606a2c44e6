"""A verdict as Markdown, annotations and JUnit XML, which is held to the rules of two schemas."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from gated_rows import judgement

from lico_bench.gate import Verdict, github_annotations, junit_xml, markdown
from lico_bench.gate.judgement import worst
from lico_bench.gate.output import MAX_LENGTH, MAX_PER_KIND, escape


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


def lines_of(*changes):
    ones = tuple(judgement(**change) for change in changes)
    return list(github_annotations(Verdict(worst(ones), ones, 0)))


def test_regressions_are_errors_undecided_scores_warnings_and_passes_nothing():
    kinds = [
        line.split(" ")[0]
        for line in lines_of(
            {"outcome": "pass"}, {"outcome": "inconclusive"}, {"outcome": "not_comparable"},
            {"outcome": "regression"},
        )
    ]  # fmt: skip
    assert kinds == ["::error", "::error", "::warning", "::notice"]


def test_line_breaks_and_marks_are_escaped():
    line, _ = lines_of(
        {"outcome": "regression", "sentence": "50%\r\n::error::no", "dataset": "a,b:c\n::stop"}
    )
    assert "\n" not in line
    assert line.endswith("::50%25%0D%0A::error::no")
    title = line.removeprefix("::error title=").split("::")[0]
    assert title.startswith("regression%3A a%2Cb%3Ac%0A%3A%3Astop STAND-IN%2C lico")


def test_more_than_github_shows_are_counted():
    lines = lines_of(*({"outcome": "regression"} for _ in range(25)))
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == MAX_PER_KIND
    assert "16 more scores" in errors[-1]


WHEN = "2026-01-31T12:00:00"
# Of the schema of Ant's JUnit reports (Windy Road) and of Jenkins' xUnit plugin, what both take:
# attributes that an element must have and may have, and its children in their order.
RULES = {
    "testsuites": (set(), set(), ["testsuite"]),
    "testsuite": (
        {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time"},
        {"skipped"},
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": (set(), set(), ["property"]),
    "property": ({"name", "value"}, set(), []),
    "testcase": ({"name", "classname", "time"}, set(), ["skipped", "error", "failure"]),
    "skipped": (set(), {"type", "message"}, []),
    "error": ({"type"}, {"message"}, []),
    "failure": ({"type"}, {"message"}, []),
    "system-out": (set(), set(), []),
    "system-err": (set(), set(), []),
}


def verdict_of(*changes, **facts):
    ones = tuple(judgement(**change) for change in changes)
    return Verdict("regression", ones, 0, **facts)


def parsed(verdict):
    root = ElementTree.fromstring(junit_xml(verdict, timestamp=WHEN))
    for element in root.iter():
        must, may, children = RULES[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places), element.tag
    return root


def test_each_score_is_a_case_and_each_outcome_what_it_is_to_a_build_server():
    outcomes = ("pass", "better", "regression", "not_comparable", "inconclusive")
    root = parsed(verdict_of(*({"outcome": outcome} for outcome in outcomes)))
    suite = root[0]
    assert [[child.tag for child in case] for case in suite.iter("testcase")] == [
        [], [], ["failure"], ["error"], ["skipped"],
    ]  # fmt: skip
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))


def test_a_failure_tells_the_sentence_the_numbers_and_what_they_rest_on():
    (failure,) = parsed(
        verdict_of({"outcome": "regression", "sentence": "0.1 worse than the reference"})
    ).iter("failure")
    assert failure.get("message") == "0.1 worse than the reference"
    for word in ("STAND-IN", "Deletion ↓ of grad_cam (probability)", "margin 0.050", "16 images"):
        assert word in (failure.text or "")


def test_notes_and_verdict_are_properties():
    root = parsed(verdict_of({}, notes=("one training on each side",)))
    found = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert found == {
        "verdict": "regression: 1 pass of 1 scores", "note": "one training on each side",
    }  # fmt: skip


def test_marks_control_characters_and_half_characters_come_back_or_are_replaced():
    nasty = 'a<b>&"c"\x00\x1b[31m\ud800]]>\n'
    root = parsed(
        verdict_of({"dataset": nasty, "method": nasty, "outcome": "regression", "sentence": nasty})
    )
    (failure,) = root.iter("failure")
    assert failure.get("message") == 'a<b>&"c"��[31m�]]>\n'
    (case,) = root.iter("testcase")
    assert case.get("classname", "").count(".") == 3
    assert "\n" not in case.get("name", "")
