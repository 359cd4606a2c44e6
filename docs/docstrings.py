"""Markdown from docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Source|Differs):\s*(.*)")
ITEM = re.compile(r"((?:\w+(?:, )?)+): (.*)")


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    headings = list(headings)
    lines = [headings, ["---"] * len(headings), *map(list, rows)]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in x)} |" for x in lines)


def shown(value: object) -> str:
    """Return an option's value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def escaped(text: str) -> str:
    """Return plain text that Markdown shows as it is, with code in backquotes kept."""
    parts = text.split("`")
    plain = [re.sub(r"([*\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts)


def sections(thing: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the label and the lines of each section of a docstring; paragraphs have no label."""
    while isinstance(thing, partial):
        thing = thing.func
    label, lines = "", list[str]()
    for line in (inspect.getdoc(thing) or "").splitlines():
        start = SECTION.fullmatch(line)
        is_paragraph = line and not line.startswith(" ") and (not lines or not lines[-1])
        if start or (is_paragraph and lines):
            yield label, lines
            label, lines = (start[1], [start[2]]) if start else ("", [line])
        else:
            lines.append(line)
    yield label, lines


def items(lines: Iterable[str]) -> dict[str, str]:
    """Return the descriptions below `Args:` or `Attributes:` by name; a line may have several."""
    found: dict[str, str] = {}
    for line in lines:
        start = ITEM.fullmatch(line[4:]) if line[4:5].strip() else None
        if start:
            found[start[1]] = start[2]
        elif found and line.strip():
            found[list(found)[-1]] += f" {line.strip()}"
    return found


def arguments(thing: Any) -> dict[str, str]:
    """Return the descriptions of a docstring's arguments or attributes by name or names."""
    labels = ("Args", "Attributes")
    return {
        k: v for label, lines in sections(thing) if label in labels for k, v in items(lines).items()
    }


def described(thing: Any, options: Iterable[str] = ()) -> str:
    """Return a docstring as Markdown, of its arguments only the `options`, without errors."""
    parts = []
    for label, lines in sections(thing):
        text = escaped(" ".join(line.strip() for line in lines if line.strip()))
        if label in ("Args", "Attributes"):
            told = [
                f"- `{names}`: {escaped(meaning)}"
                for names, meaning in items(lines).items()
                if set(names.split(", ")) & set(options)
            ]
            text = "\n".join(told)
        elif label == "Raises":
            continue
        elif label:
            text = f"*{label}:* {text}"
        if text:
            parts.append(text)
    return "\n\n".join(parts)
