"""What learns: classifiers, their backbones, and the frozen text encoders."""

from lico_bench.models.backbones import BACKBONES, Backbone
from lico_bench.models.classifier import (
    Classifier,
    build_classifier,
    dump_weights,
    load_weights,
    logits_of,
)
from lico_bench.models.encoders import ENCODERS, EncoderIdentity, TextEncoder, TokenVectors
from lico_bench.models.tap import Tap, evaluating, tap

__all__ = [
    "BACKBONES",
    "ENCODERS",
    "Backbone",
    "Classifier",
    "EncoderIdentity",
    "Tap",
    "TextEncoder",
    "TokenVectors",
    "build_classifier",
    "dump_weights",
    "evaluating",
    "load_weights",
    "logits_of",
    "tap",
]
