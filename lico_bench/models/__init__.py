"""Classifiers, their backbones and the frozen text encoders.

Modules are imported when one of their names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.registry import lazy_getattr

if TYPE_CHECKING:
    from lico_bench.models.backbones import BACKBONES, Backbone
    from lico_bench.models.classifier import (
        Classifier,
        LogitsModel,
        MicroBatchRunner,
        build_classifier,
        default_micro_batch,
        evaluating,
        logits_of,
        mean_colour,
        scoring,
        target_scores,
    )
    from lico_bench.models.encoders import ENCODERS, EncoderIdentity, TextEncoder, TokenVectors
    from lico_bench.models.tap import Tap, explanation_layer
    from lico_bench.models.weight_files import dump_weights, load_weights

_MODULE_OF = {
    "BACKBONES": "backbones",
    "Backbone": "backbones",
    "Classifier": "classifier",
    "ENCODERS": "encoders",
    "EncoderIdentity": "encoders",
    "MicroBatchRunner": "classifier",
    "LogitsModel": "classifier",
    "Tap": "tap",
    "TextEncoder": "encoders",
    "TokenVectors": "encoders",
    "build_classifier": "classifier",
    "default_micro_batch": "classifier",
    "dump_weights": "weight_files",
    "evaluating": "classifier",
    "explanation_layer": "tap",
    "load_weights": "weight_files",
    "logits_of": "classifier",
    "mean_colour": "classifier",
    "target_scores": "classifier",
    "scoring": "classifier",
}

__all__ = [
    "BACKBONES",
    "ENCODERS",
    "Backbone",
    "Classifier",
    "EncoderIdentity",
    "LogitsModel",
    "MicroBatchRunner",
    "Tap",
    "TextEncoder",
    "TokenVectors",
    "build_classifier",
    "default_micro_batch",
    "dump_weights",
    "evaluating",
    "explanation_layer",
    "load_weights",
    "logits_of",
    "mean_colour",
    "scoring",
    "target_scores",
]

__getattr__ = lazy_getattr(__name__, _MODULE_OF)
