"""What can go wrong, in our words: every error says what was expected, what came and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Signs that do something in place of being shown: they move the cursor of a terminal, turn the
# direction of a line, or are no text at all. Breaks of lines are among them.
CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_CONTROL = re.compile(f"[{CONTROLS}]")


def plain(text: str) -> str:
    """`text` on one line, where control signs can be read and do nothing."""
    return _CONTROL.sub(lambda sign: " " if sign[0] in "\t\n" else repr(sign[0])[1:-1], text)


class LicoBenchError(Exception):
    """Base of every error raised on purpose; the command line prints it and exits with 2."""

    def __str__(self) -> str:
        # KeyError would print the quoted repr of its argument.
        return plain(str(self.args[0])) if self.args else ""


class UnknownNameError(LicoBenchError, KeyError):
    """A name that no registry, card or option knows."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """The error for an unknown `name`, with the nearest known one and the whole list."""
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ";"
        return cls(f"unknown {kind} '{name}'{hint} known: {', '.join(names) or 'none'}")


class InvalidInputError(LicoBenchError, ValueError):
    """An argument, option or tensor outside what was promised."""


class MissingDataError(LicoBenchError, FileNotFoundError):
    """Images, weights or a run that are not where they were looked for."""


class BrokenFileError(LicoBenchError, ValueError):
    """A file that exists but cannot be what its name says."""


class RunMismatchError(LicoBenchError, ValueError):
    """A run folder that belongs to another suite, or rows of two kinds that may not be mixed."""


class NotComparableError(LicoBenchError, ValueError):
    """Two sets of scores without a common ground: other protocol, data or images."""


class TrainingError(LicoBenchError, FloatingPointError):
    """A training that cannot go on: a loss that is not finite, or one that trains nothing."""


class ConvergenceError(LicoBenchError, ArithmeticError):
    """An iteration that did not reach its tolerance, so that no number can be told."""


class OutOfMemoryError(LicoBenchError, MemoryError):
    """Not even one image at a time fits into memory."""


class LostPeersError(LicoBenchError, ConnectionError):
    """Processes that train one model together and have lost one of them."""


class DiskFullError(LicoBenchError, OSError):
    """A file that could not be written, because there is no room for it."""


EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: what schedulers take as "start it again"


class Preempted(BaseException):
    """The machine wants its place back. No error: nothing that catches errors may catch it."""


class RunBusyError(LicoBenchError, BlockingIOError):
    """A run folder that another process is at work on."""


class ClusterError(LicoBenchError, ConnectionError):
    """A cluster that cannot be joined, or whose machines cannot run the cells."""
