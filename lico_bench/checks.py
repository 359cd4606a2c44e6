"""Checks of arguments; each raises InvalidInputError with expectation, value and remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from lico_bench.errors import CONTROLS, InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_NAME, LONGEST_TITLE = 200, 300
_NAME = re.compile(r"\w[\w .,:;=()@+\-\[\]'*%]*")
_CONTROL = re.compile(f"[{CONTROLS}]")
RANGE_SLACK = 1e-4  # resampling may overshoot [0, 1] by rounding


def check_images(images: Tensor) -> None:
    """Check that `images` is (N, 3, H, W), floating point, finite and in [0, 1]."""
    shape = tuple(images.shape)
    if images.ndim == 3 and shape[0] == 3:
        raise InvalidInputError(
            f"images: expected (N, 3, H, W), got {shape}; add a batch axis with images[None]"
        )
    if images.ndim == 4 and shape[1] != 3 and shape[3] == 3:
        raise InvalidInputError(
            f"images: expected (N, 3, H, W), got {shape}; "
            "move the channels forward with images.permute(0, 3, 1, 2)"
        )
    if images.ndim != 4 or shape[1] != 3:
        raise InvalidInputError(f"images: expected (N, 3, H, W), got {shape}")
    if shape[0] == 0:
        raise InvalidInputError("images: expected at least one image, got an empty batch")
    if not images.is_floating_point():
        raise InvalidInputError(
            f"images: expected floats in [0, 1], got {images.dtype}; divide bytes by 255"
        )
    low, high = (float(v) for v in images.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidInputError("images: expected finite values, got NaN or infinity")
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        raise InvalidInputError(
            f"images: expected values in [0, 1], got [{low:.3g}, {high:.3g}]; "
            "pass images without normalisation, the model normalises them"
        )


def check_targets(targets: Tensor, *, num_images: int, num_classes: int | None = None) -> None:
    """Check that `targets` is (N,) integer with every class in [0, num_classes)."""
    if tuple(targets.shape) != (num_images,):
        raise InvalidInputError(
            f"targets: expected ({num_images},), one class per image, got {tuple(targets.shape)}"
        )
    if targets.is_floating_point() or targets.is_complex():
        raise InvalidInputError(
            f"targets: expected class numbers (int64), got {targets.dtype}; convert with .long()"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or (num_classes is not None and high >= num_classes):
        raise InvalidInputError(
            f"targets: expected classes in [0, {num_classes}), got [{low}, {high}]"
        )


def check_maps(maps: Tensor, *, num_images: int, size: tuple[int, int]) -> None:
    """Check that `maps` is (N, H, W), floating point and finite."""
    expected = (num_images, *size)
    if tuple(maps.shape) != expected:
        hint = "; drop the channel axis with maps.sum(1)" if maps.ndim == 4 else ""
        raise InvalidInputError(f"maps: expected {expected}, got {tuple(maps.shape)}{hint}")
    if not maps.is_floating_point():
        raise InvalidInputError(f"maps: expected floats, got {maps.dtype}")
    has_bad_value = (~maps.isfinite()).flatten(1).any(1)
    if has_bad_value.any():
        first = int(has_bad_value.nonzero()[0])
        raise InvalidInputError(
            f"maps: expected finite values, got NaN or infinity in {int(has_bad_value.sum())} of "
            f"{num_images} maps (first: number {first}); correct the saliency method"
        )


def is_single_line(text: object) -> bool:
    """Whether `text` is one line of text without control characters."""
    return isinstance(text, str) and _CONTROL.search(text) is None


def is_title(text: object) -> bool:
    """Whether `text` can be shown as the title of a class, an image or a dataset."""
    return is_single_line(text) and 0 < len(str(text)) <= LONGEST_TITLE


def is_name(text: object) -> bool:
    """Whether `text` is safe as part of a path and in a cell of a spreadsheet.

    It starts with a letter, a digit or an underscore and contains no slash or control character.
    """
    return (
        isinstance(text, str)
        and len(text) <= LONGEST_NAME
        and _NAME.fullmatch(text) is not None
        and text.strip(" .") == text
    )


def find_duplicate(names: Iterable[str], *, key: Callable[[str], str] = str) -> str | None:
    """Return the first name whose `key` an earlier name has, or None."""
    seen: set[str] = set()
    for name in names:
        if key(name) in seen:
            return name
        seen.add(key(name))
    return None


def check_positive(name: str, value: float) -> None:
    """Check that `value` is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InvalidInputError(f"{name}: expected a number above 0, got {value}")


def check_not_negative(name: str, value: float) -> None:
    """Check that `value` is a finite number of at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInputError(f"{name}: expected a number of at least 0, got {value}")


def check_count(name: str, value: int, *, at_least: int = 1) -> None:
    """Check that `value` is an integer of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidInputError(
            f"{name}: expected a whole number of at least {at_least}, got {value!r}"
        )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that `value` is one of `choices`."""
    if value not in choices:
        raise InvalidInputError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


@dataclass(frozen=True)
class Rule:
    """A condition on a stored value, for `Annotated[type, Rule(...)]`.

    Attributes:
        expected: what a valid value is, in messages.
        is_valid: of any value that JSON can hold.
    """

    expected: str
    is_valid: Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53


Name = Annotated[str, Rule("a name (letters, digits, no slash)", is_name)]
Title = Annotated[str, Rule("a title", is_title)]
Count = Annotated[int, Rule("a count", _is_count)]
