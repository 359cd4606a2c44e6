"""A verdict as Markdown for a pull request: the verdict first, what is worse, the rest folded."""

from __future__ import annotations

import re

from lico_bench.gate import formatting
from lico_bench.gate.judgement import Judgement, Outcome, Verdict

LARGEST = 60_000  # characters; GitHub takes 65,536 in a comment
_SIGNS: dict[Outcome, str] = {
    "regression": "❌",
    "not_comparable": "🚫",
    "inconclusive": "❓",
    "pass": "✅",
    "better": "✅",
}
_OPEN: tuple[tuple[Outcome, str], ...] = (
    ("regression", "Worse by more than the margin"),
    ("not_comparable", "Not comparable"),
)
_FOLDED: tuple[tuple[Outcome, str], ...] = (
    ("inconclusive", "Undecided"),
    ("better", "Better"),
    ("pass", "Not worse by more than the margin"),
)
_HEADINGS = (
    "| Score | Was → is | Worse by [95 % each side] | Margin | Rests on |\n|---|---|---|---|---|"
)
# Whatever GitHub reads as a mark, a tag, a mention, a reference, an address or a sign's name.
_MARKS = re.compile(r"[\\`*_\[\]<>#|~@&$]|:(?=\S)")


def markdown(verdict: Verdict) -> str:
    """The comment; sections that would make it too long say how much they leave out."""
    lines = [
        f"<!-- lico-bench {escape(verdict.title)} -->",
        f"### {_SIGNS[verdict.outcome]} lico-bench {escape(verdict.title)}: "
        f"{formatting.outcome_word(verdict.outcome)}",
        "",
        escape(verdict.sentence),
    ]
    lines += [f"\n> {escape(note)}" for note in verdict.notes]
    room = LARGEST - sum(len(line) + 1 for line in lines)
    for outcome, title in (*_OPEN, *_FOLDED):
        found = verdict.those(outcome)
        if found:
            is_open = outcome in dict(_OPEN)
            section = _section(f"{title}: {len(found)}", found, room, is_open=is_open)
            lines.append(section)
            room -= len(section) + 1
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line, in a table too."""
    return _MARKS.sub(lambda mark: f"&#{ord(mark[0])};", " ".join(text.split()))


def _section(title: str, found: tuple[Judgement, ...], room: int, *, is_open: bool) -> str:
    before, after = f"\n**{title}**\n", ""
    if not is_open:
        before, after = f"\n<details><summary>{title}</summary>\n", "\n</details>"
    rows, used = [], len(before) + len(_HEADINGS) + len(after) + 200
    for number, judgement in enumerate(found):
        row = _row(judgement)
        used += len(row) + 1
        if used > room:
            rows.append(f"\n… and {len(found) - number} more, which the JUnit file lists")
            break
        rows.append(row)
    return "\n".join([before, _HEADINGS, *rows, after])


def _row(judgement: Judgement) -> str:
    score = f"{formatting.where(judgement)}: {formatting.what(judgement)}"
    cells = [escape(score), formatting.means(judgement)]
    if judgement.loss_low is None:
        cells += [escape(judgement.sentence)]
    else:
        cells += [formatting.loss(judgement)]
    cells += [formatting.margin(judgement), escape(formatting.basis(judgement))]
    return f"| {' | '.join(cells)} |"
