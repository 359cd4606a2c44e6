"""What learns: classifiers, their backbones, and the frozen text encoders.

Names load what they need when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.registry import at_first_use

if TYPE_CHECKING:
    from lico_bench.models.backbones import BACKBONES, Backbone
    from lico_bench.models.classifier import (
        Classifier,
        build_classifier,
        dump_weights,
        load_weights,
        logits_of,
        mean_colour,
        of_target,
    )
    from lico_bench.models.encoders import ENCODERS, EncoderIdentity, TextEncoder, TokenVectors
    from lico_bench.models.forwards import Forwards, LogitsModel, default_micro_batch, scoring
    from lico_bench.models.tap import Tap, evaluating, explanation_layer

_HOMES = {
    "BACKBONES": "backbones",
    "Backbone": "backbones",
    "Classifier": "classifier",
    "ENCODERS": "encoders",
    "EncoderIdentity": "encoders",
    "Forwards": "forwards",
    "LogitsModel": "forwards",
    "Tap": "tap",
    "TextEncoder": "encoders",
    "TokenVectors": "encoders",
    "build_classifier": "classifier",
    "default_micro_batch": "forwards",
    "dump_weights": "classifier",
    "evaluating": "tap",
    "explanation_layer": "tap",
    "load_weights": "classifier",
    "logits_of": "classifier",
    "mean_colour": "classifier",
    "of_target": "classifier",
    "scoring": "forwards",
}

__all__ = [
    "BACKBONES",
    "ENCODERS",
    "Backbone",
    "Classifier",
    "EncoderIdentity",
    "Forwards",
    "LogitsModel",
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
    "of_target",
    "scoring",
]

__getattr__ = at_first_use(__name__, _HOMES)
