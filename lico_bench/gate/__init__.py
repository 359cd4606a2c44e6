"""Non-inferiority tests of scores against a reference or another run, with exit codes for CI."""

from lico_bench.gate.against_reference import check
from lico_bench.gate.between_runs import compare
from lico_bench.gate.judgement import Judgement, Verdict
from lico_bench.gate.output import (
    github_annotations,
    junit_xml,
    markdown,
    update_table,
    verdict_table,
)
from lico_bench.gate.reference import Update, read_reference, update_reference, write_reference
from lico_bench.gate.side import Selection, Side, Trainings, join_trainings, read_side

__all__ = [
    "Judgement",
    "Selection",
    "Side",
    "Trainings",
    "Update",
    "Verdict",
    "check",
    "compare",
    "github_annotations",
    "join_trainings",
    "junit_xml",
    "markdown",
    "read_reference",
    "read_side",
    "update_reference",
    "update_table",
    "verdict_table",
    "write_reference",
]
