"""Signed numbers as text, the same in claims, gate and report."""

from __future__ import annotations

MINUS = "−"


def signed(number: float, digits: int) -> str:
    """Return a finite number with its sign: `+0.012`; a number that rounds to zero has no sign."""
    text = f"{drop_noise(number):+.{digits}f}"
    return text.replace("-", MINUS) if text.strip("+-0.") else text[1:]


def drop_noise(number: float) -> float:
    """Drop digits that depend on summation order, so that ties such as 61.75 round one way."""
    return round(number, 9)
