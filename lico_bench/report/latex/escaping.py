"""Any text as LaTeX: nothing in a class name, path or title is ever read as a command."""

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
LONG_WORD = 20  # signs that a line can take without a break
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r",
    "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def escape(text: object) -> str:
    """Any text as LaTeX that pdflatex can set; signs it has no glyph for become plain ones."""
    escaped = ""
    for sign in map(_escape_sign, str(text)):
        if escaped.endswith("-") and sign.startswith("-"):
            escaped += "{}"  # two hyphens are no dash
        escaped += sign
    return escaped.replace(r" \%", r"\,\%")


def line_breakable(text: object) -> str:
    """The same for running text, whose long words (paths, lists, ids) may be broken at a joint."""
    return " ".join(
        re.sub(r"(\\_|[/@,])", r"\1\\allowbreak{}", escape(word))
        if len(word) > LONG_WORD
        else escape(word)
        for word in str(text).split(" ")
    ).replace(r" \%", r"\,\%")


def _escape_sign(sign: str) -> str:
    if sign in ESCAPES:
        return ESCAPES[sign]
    if sign.isascii():
        return sign if sign.isprintable() else " "
    parts = unicodedata.normalize("NFKD", sign)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    plain = parts.encode("ascii", "ignore").decode()
    return "".join(ESCAPES.get(letter, letter) for letter in plain) or "?"
