"""Known answers: scenes and networks whose reason is known, and what must follow from it.

On planted-cue scenes the reason for a decision is a mark, so the best map is known and so is the
worst; on a constant, a weighted sum and detectors of colour the answers can be written down. Every
metric and every method is asked what it makes of them.
"""

from lico_bench.evaluation.known_answers.finding import Finding
from lico_bench.evaluation.known_answers.scene import Scene, load_scene
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
