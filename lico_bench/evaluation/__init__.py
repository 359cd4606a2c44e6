"""The one place where model, map and metric meet: per-picture scores of trained models.

The room is called `evaluation` and not `evaluate`, because a module of that name would hide the
public function `lico_bench.evaluate`.
"""

from lico_bench.evaluation.collector import Scores
from lico_bench.evaluation.scoring import evaluate, evaluate_subject, spread
from lico_bench.evaluation.subject import Subject

__all__ = ["Scores", "Subject", "evaluate", "evaluate_subject", "spread"]
