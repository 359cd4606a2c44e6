"""Explain and score trained models, one score per image.

The package is not named `evaluate`: a module of that name would hide the public function
`lico_bench.evaluate`.
"""

from lico_bench.evaluation.collector import Scores
from lico_bench.evaluation.eval_config import EvalConfig, Subject
from lico_bench.evaluation.scoring import (
    SINGLE_SHARD,
    Part,
    Shard,
    evaluate,
    evenly_spaced,
    ranges_of,
    score_in_parts,
)

__all__ = [
    "SINGLE_SHARD",
    "EvalConfig",
    "Part",
    "Scores",
    "Shard",
    "Subject",
    "evaluate",
    "evenly_spaced",
    "ranges_of",
    "score_in_parts",
]
