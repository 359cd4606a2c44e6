"""What the scores of the model itself mean; those of maps are described by their metrics' room."""

from __future__ import annotations

from types import MappingProxyType

from lico_bench.records import MetricSpec

OWN_SCORES = MappingProxyType(
    {
        "accuracy": MetricSpec(
            name="accuracy",
            title="Accuracy",
            higher_is_better=True,
            bounds=(0.0, 1.0),
            unit="share of images",
            source="top-1, all test images",
            needs=(),
        ),
        "confidence": MetricSpec(
            name="confidence",
            title="Confidence",
            higher_is_better=None,  # a surer model is not a better one
            bounds=(0.0, 1.0),
            unit="probability",
            source="probability of the predicted class, all test images",
            needs=(),
        ),
    }
)
