"""What learns: classifiers, their backbones, and the frozen text encoders."""

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
from lico_bench.models.tap import Tap, evaluating, explanation_layer, tap

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
    "tap",
]
