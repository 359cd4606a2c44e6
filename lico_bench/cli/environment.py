"""What the user's surroundings may not change: output that nobody reads, and how figures look."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

PLAIN = "lico_bench_plain"  # name of the error handler
ASCII = {
    "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "↑": "^", "↓": "v", "×": "x",
    "±": "+-", "≤": "<=", "≥": ">=", "·": ".", "’": "'", "‘": "'", "“": '"', "”": '"',
    "α": "alpha", "β": "beta", "ε": "epsilon",
}  # fmt: skip


def ignore_plot_settings() -> None:
    """Keep a matplotlibrc, which may be broken, and a backend with windows out of this process.

    Figures are drawn with settings of their own; this is about what is read with the library.
    """
    os.environ["MATPLOTLIBRC"] = os.devnull
    os.environ["MPLBACKEND"] = "agg"


def import_past_plot_settings() -> None:
    """Import what draws from another folder where this one has a matplotlibrc.

    It is read as the library is imported, before the variable is looked at.
    """
    if Path("matplotlibrc").exists():
        with TemporaryDirectory() as empty, contextlib.chdir(empty):
            import lico_bench.report.figures.canvas  # noqa: F401


def make_streams_safe() -> None:
    """Make standard output and error of this process survive their reader and their encoding.

    Streams that something else put in their place are left as they are.
    """
    codecs.register_error(PLAIN, _in_plain_signs)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed before the start; the next file would get its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _made_safe(stream))


def _made_safe(stream: io.TextIOWrapper) -> TextIO:
    try:
        stream.flush()
        raw = _CloseSafeFile(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return stream
    straight = stream.write_through
    # As Python itself does with -u: nothing between the text and the file.
    return io.TextIOWrapper(
        raw if straight else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=PLAIN,
        line_buffering=stream.line_buffering,
        write_through=straight,
    )


class _CloseSafeFile(io.FileIO):
    """A file that turns into nothing when it cannot be written any more."""

    def write(self, content: object, /) -> int:
        """Bytes written; all of them where nobody reads."""
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BlockingIOError:
            raise
        except OSError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return super().write(content)  # type: ignore[arg-type]


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    """What stands for the signs that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(map(_plain_sign, signs)), error.end


def _plain_sign(sign: str) -> str:
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return ASCII.get(sign) or bare or "?"
