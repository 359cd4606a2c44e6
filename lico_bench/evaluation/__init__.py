"""The one place where model, map and metric meet: per-image scores of trained models.

The room is called `evaluation` and not `evaluate`, because a module of that name would hide the
public function `lico_bench.evaluate`.
"""

from lico_bench.evaluation.collector import Scores
from lico_bench.evaluation.eval_config import EvalConfig
from lico_bench.evaluation.scoring import Part, evaluate, score_in_parts
from lico_bench.evaluation.shards import WHOLE, Shard, ranges_of, spread
from lico_bench.evaluation.subject import Subject

__all__ = [
    "WHOLE",
    "EvalConfig",
    "Part",
    "Scores",
    "Shard",
    "Subject",
    "evaluate",
    "ranges_of",
    "score_in_parts",
    "spread",
]
