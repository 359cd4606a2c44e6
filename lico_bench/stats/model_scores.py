"""Specifications of the model scores; `metrics` specifies the scores of saliency maps."""

from __future__ import annotations

from types import MappingProxyType

from lico_bench.records import MetricSpec


def _spec(
    name: str, title: str, unit: str, source: str, *, is_better: bool | None = None,
    largest: float = 1.0,
) -> MetricSpec:  # fmt: skip
    return MetricSpec(
        name=name,
        title=title,
        higher_is_better=is_better,
        bounds=(0.0, largest),
        unit=unit,
        source=source,
        needs=(),
        category="model",
    )


_ALL = "all test images"
_ENDS = "probability of the scored class, explained images"
_SPECS = (
    _spec("accuracy", "Accuracy", "share of images", f"top-1, {_ALL}", is_better=True),
    # No direction: a more confident model is not a better one.
    _spec("confidence", "Confidence", "probability", f"of the predicted class, {_ALL}"),
    _spec(
        "brier", "Brier score", "squared probability", f"Brier 1950, all classes, {_ALL}",
        is_better=False, largest=2.0,
    ),
    _spec("score_whole", "Score, whole image", "probability", _ENDS),
    _spec("score_blurred", "Score, blurred", "probability", _ENDS),
    _spec("score_emptied", "Score, emptied", "probability", _ENDS),
)  # fmt: skip
MODEL_SCORES = MappingProxyType({spec.name: spec for spec in _SPECS})
