"""A verdict as workflow commands, which GitHub shows beside a pull request's checks.

Source: GitHub Docs, "Workflow commands for GitHub Actions" (escapes; ten per kind and step).
"""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.gate import formatting
from lico_bench.gate.judgement import Outcome, Verdict

MOST_PER_KIND = 10  # GitHub drops the rest
_KINDS: tuple[tuple[str, tuple[Outcome, ...]], ...] = (
    ("error", ("regression", "not_comparable")),
    ("warning", ("inconclusive",)),
)


def github_annotations(verdict: Verdict) -> Iterator[str]:
    """One line per annotation, gravest first, and the verdict's sentence as the last."""
    for kind, outcomes in _KINDS:
        found = verdict.those(*outcomes)
        shown = found if len(found) <= MOST_PER_KIND else found[: MOST_PER_KIND - 1]
        for judgement in shown:
            title = f"{formatting.where(judgement)}, {formatting.what(judgement)}"
            yield _command(kind, f"{formatting.outcome_word(judgement.outcome)}: {title}",
                           judgement.sentence)  # fmt: skip
        if len(found) > len(shown):
            title = f"{len(found) - len(shown)} more scores"
            yield _command(kind, title, "see the table in the log, or the JUnit file")
    yield _command("notice", f"lico-bench {verdict.title}", verdict.sentence)


def _command(kind: str, title: str, message: str) -> str:
    name = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={name}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
