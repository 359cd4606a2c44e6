"""What can go wrong, in our words: every error says what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LicoBenchError(Exception):
    """Base of every error raised on purpose; the command line prints it and exits with 2."""

    def __str__(self) -> str:
        # KeyError would print the quoted repr of its argument.
        return str(self.args[0]) if self.args else ""


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
    """Not even one picture at a time fits into memory."""
