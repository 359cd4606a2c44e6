"""Check metrics and methods on scenes and networks whose correct explanation is known.

On planted-cue scenes only a mark determines the class, so the best and the worst map are known. For
a constant network, a linear network and colour detectors the correct results follow in closed form.
"""

from lico_bench.evaluation.known_answers.cases import Scene, load_scene
from lico_bench.evaluation.known_answers.finding import Finding
from lico_bench.evaluation.known_answers.suite import (
    SelfCheck,
    findings_of,
    load_entries,
    self_check,
)

__all__ = [
    "Finding",
    "Scene",
    "SelfCheck",
    "findings_of",
    "load_entries",
    "load_scene",
    "self_check",
]
