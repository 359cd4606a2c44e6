"""Streams and consoles: what is printed, and protection from the user's environment.

Closed pipes, limited encodings and plot settings do not end a command.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

ERROR_HANDLER = "lico_bench_plain"  # name of the codec error handler
ASCII_SUBSTITUTES = {
    "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "↑": "^", "↓": "v", "×": "x",
    "±": "+-", "≤": "<=", "≥": ">=", "·": ".", "’": "'", "‘": "'", "“": '"', "”": '"',
    "α": "alpha", "β": "beta", "ε": "epsilon",
}  # fmt: skip


def new_console(*, stderr: bool = False) -> Console:
    """Return a console that does not replace text between colons (`net.py:one`) by an emoji."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: no markup, no colours, and no breaks of long lines."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def format_seconds(seconds: float) -> str:
    """Format a duration: `45 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def working(console: Console, message: str) -> AbstractContextManager[object]:
    """Show a task of unknown duration: a spinner on a terminal, one line elsewhere."""
    if console.is_terminal:
        return console.status(message)
    console.print(message, highlight=False, markup=False)
    return nullcontext()


@contextmanager
def loading(command: str, *libraries: str) -> Iterator[None]:
    """Show on stderr that `command` imports `libraries` in the block: a spinner, or a log line.

    Nothing is shown if they are already imported. Stdout is left to the command's output, which
    programs may read.
    """
    missing = [library for library in libraries if library not in sys.modules]
    if not missing:
        yield
        return
    message = f"lico-bench {command}: loading {' and '.join(missing)}"
    status: AbstractContextManager[object] = nullcontext()
    if sys.stderr.isatty():
        status = new_console(stderr=True).status(message)
    else:
        print(message, file=sys.stderr, flush=True)
    with status:
        _import_figures_without_matplotlibrc()
        yield


def _import_figures_without_matplotlibrc() -> None:
    """Import the figure modules from an empty folder if the current one has a matplotlibrc.

    matplotlib reads ./matplotlibrc on import and prefers it to MATPLOTLIBRC.
    """
    if Path("matplotlibrc").exists():
        with TemporaryDirectory() as empty, contextlib.chdir(empty):
            import lico_bench.report.figures.canvas  # noqa: F401


def ignore_plot_settings() -> None:
    """Make matplotlib ignore the user's matplotlibrc, which may be broken, and use no GUI backend.

    Figures set their own style; these settings apply while matplotlib is imported.
    """
    os.environ["MATPLOTLIBRC"] = os.devnull
    os.environ["MPLBACKEND"] = "agg"


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
