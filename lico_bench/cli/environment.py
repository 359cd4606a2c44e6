"""Protection from the user's environment: plot settings, closed pipes, limited encodings."""

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

ERROR_HANDLER = "lico_bench_plain"  # name of the codec error handler
ASCII_SUBSTITUTES = {
    "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "↑": "^", "↓": "v", "×": "x",
    "±": "+-", "≤": "<=", "≥": ">=", "·": ".", "’": "'", "‘": "'", "“": '"', "”": '"',
    "α": "alpha", "β": "beta", "ε": "epsilon",
}  # fmt: skip


def ignore_plot_settings() -> None:
    """Make matplotlib ignore the user's matplotlibrc, which may be broken, and use no GUI backend.

    Figures set their own style; these settings apply while matplotlib is imported.
    """
    os.environ["MATPLOTLIBRC"] = os.devnull
    os.environ["MPLBACKEND"] = "agg"


def import_figures_without_matplotlibrc() -> None:
    """Import the figure modules from an empty folder if the current one has a matplotlibrc.

    matplotlib reads ./matplotlibrc on import and prefers it to MATPLOTLIBRC.
    """
    if Path("matplotlibrc").exists():
        with TemporaryDirectory() as empty, contextlib.chdir(empty):
            import lico_bench.report.figures.canvas  # noqa: F401


def make_streams_safe() -> None:
    """Make stdout and stderr survive a closed pipe and characters outside their encoding.

    Streams that were replaced by something else are left unchanged.
    """
    codecs.register_error(ERROR_HANDLER, _replace_unencodable)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed before the start; the next file would get its descriptor
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _safe_stream(stream))


def _safe_stream(stream: io.TextIOWrapper) -> TextIO:
    try:
        stream.flush()
        raw = _DisconnectSafeFile(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return stream
    # With write_through (python -u) there is no buffer, as in Python itself.
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=ERROR_HANDLER,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _DisconnectSafeFile(io.FileIO):
    """A file that redirects to os.devnull once it cannot be written."""

    def write(self, content: object, /) -> int:
        """Return the number of bytes written; after the reader closed, all of them."""
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BlockingIOError:
            raise
        except OSError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self.fileno())
            os.close(devnull)
            return super().write(content)  # type: ignore[arg-type]


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: replace characters that the encoding lacks by ASCII substitutes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(map(_ascii_substitute, characters)), error.end


def _ascii_substitute(character: str) -> str:
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return ASCII_SUBSTITUTES.get(character) or base or "?"
