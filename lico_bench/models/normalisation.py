"""Named normalisations of images in [0, 1] for user models; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lico_bench.errors import InvalidInputError
from lico_bench.records import IMAGENET_MEAN

Rgb = tuple[float, float, float]
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalisation:
    """(image - mean) / std, per channel."""

    name: str
    mean: Rgb = (0.0, 0.0, 0.0)
    std: Rgb = (1.0, 1.0, 1.0)


NO_NORMALISATION = Normalisation("none")
IMAGENET = Normalisation("imagenet", IMAGENET_MEAN, IMAGENET_STD)


def parse_normalisation(text: str) -> Normalisation:
    """Parse `imagenet`, `none`, or three means, a slash and three standard deviations.

    Raises:
        InvalidInputError: for anything else.
    """
    for known in (IMAGENET, NO_NORMALISATION):
        if text == known.name:
            return known
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
        (m1, m2, m3), (s1, s2, s3) = mean, std
    except ValueError as error:
        raise InvalidInputError(
            f"--normalise '{text}': expected imagenet, none, or six numbers in the range of "
            "[0, 1] images, such as 0.5,0.5,0.5/0.25,0.25,0.25"
        ) from error
    if not min(std) > 0:
        raise InvalidInputError(
            f"--normalise '{text}': expected standard deviations above 0, got {min(std):g}"
        )
    return Normalisation(text, (m1, m2, m3), (s1, s2, s3))
