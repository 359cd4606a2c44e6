"""The XML is read back and held to the rules of the two schemas that readers use."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from gated_rows import judgement

from lico_bench.gate import Verdict, junit_xml

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
