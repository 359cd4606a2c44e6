"""Exceptions of the package; each message states what was expected, what was found and a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Control characters: cursor movement, text direction, line breaks, byte order marks, surrogates.
CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_CONTROL = re.compile(f"[{CONTROLS}]")


def escape_controls(text: str) -> str:
    """Return `text` on one line with escaped control characters."""
    return _CONTROL.sub(lambda match: " " if match[0] in "\t\n" else repr(match[0])[1:-1], text)


class LicoBenchError(Exception):
    """Base class of expected errors; the command line prints the message and exits with 2."""

    def __str__(self) -> str:
        # KeyError would return the quoted repr of its argument.
        return escape_controls(str(self.args[0])) if self.args else ""


class UnknownNameError(LicoBenchError, KeyError):
    """A name that is not in a registry, a dataset card or the options."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the error for `name`, with the closest match and all known names."""
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ";"
        return cls(f"unknown {kind} '{name}'{hint} known: {', '.join(names) or 'none'}")


class InvalidInputError(LicoBenchError, ValueError):
    """An argument, option or tensor with an invalid type, shape or value."""


class MissingDataError(LicoBenchError, FileNotFoundError):
    """Images, weights or a run that do not exist."""


class BrokenFileError(LicoBenchError, ValueError):
    """A file with damaged or invalid content."""


class RunMismatchError(LicoBenchError, ValueError):
    """A run folder of another suite, or rows that must not be mixed."""


class NotComparableError(LicoBenchError, ValueError):
    """Two sets of scores with a different protocol, dataset or images."""


class TrainingError(LicoBenchError, FloatingPointError):
    """A training that cannot continue: a non-finite loss, or a term without gradient."""


class ConvergenceError(LicoBenchError, ArithmeticError):
    """An iteration that did not reach its tolerance, so that its result is unusable."""


class OutOfMemoryError(LicoBenchError, MemoryError):
    """A single image does not fit into memory."""


class LostPeersError(LicoBenchError, ConnectionError):
    """A process of the group that trains one model was lost."""


class DiskFullError(LicoBenchError, OSError):
    """A file could not be written because the disk is full."""


EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h, on which schedulers start a job again


class Preempted(BaseException):
    """A preemption signal arrived; not an Exception, so that no error handler catches it."""


class RunBusyError(LicoBenchError, BlockingIOError):
    """A run folder is locked by another process."""


class ClusterError(LicoBenchError, ConnectionError):
    """A cluster cannot be joined, or its machines cannot run the cells."""
