"""Escape any text for LaTeX, so that names, paths and titles contain no commands."""

from __future__ import annotations

import re
import unicodedata

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": r"$-$", "–": r"--", "—": r"---",
    "≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "≈": r"$\approx$", "∞": r"$\infty$",
    "`": "'", "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "×": r"$\times$", "·": r"$\cdot$",
    "\u200b": "{}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}",
}  # fmt: skip
MAX_UNBROKEN_CHARS = 20  # longer words may need a line break
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r",
    "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def escape(text: object) -> str:
    """Escape text for pdflatex; characters without a glyph are replaced by ASCII."""
    escaped = ""
    for char in map(_escape_char, str(text)):
        if escaped.endswith("-") and char.startswith("-"):
            escaped += "{}"  # keep consecutive hyphens from becoming a dash
        escaped += char
    return escaped.replace(r" \%", r"\,\%")


def line_breakable(text: object) -> str:
    """Escape running text and allow line breaks in long words (paths, lists, ids)."""
    return " ".join(
        re.sub(r"(\\_|[/@,])", r"\1\\allowbreak{}", escape(word))
        if len(word) > MAX_UNBROKEN_CHARS
        else escape(word)
        for word in str(text).split(" ")
    ).replace(r" \%", r"\,\%")


def _escape_char(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    if char.isascii():
        return char if char.isprintable() else " "
    parts = unicodedata.normalize("NFKD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    plain = parts.encode("ascii", "ignore").decode()
    return "".join(ESCAPES.get(letter, letter) for letter in plain) or "?"
