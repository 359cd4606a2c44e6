from __future__ import annotations

from gated_rows import judgement

from lico_bench.gate import Verdict, github_annotations
from lico_bench.gate.github import MAX_PER_KIND
from lico_bench.gate.judgement import worst


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
