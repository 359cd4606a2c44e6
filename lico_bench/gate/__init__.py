"""Non-inferiority tests of scores against a reference or another run, with exit codes for CI."""

from lico_bench.gate.against_reference import check
from lico_bench.gate.between_runs import compare
from lico_bench.gate.github import github_annotations, markdown
from lico_bench.gate.judgement import Judgement, Verdict
from lico_bench.gate.junit import junit_xml
from lico_bench.gate.reference import read_reference, write_reference
from lico_bench.gate.selection import Selection
from lico_bench.gate.show import update_table, verdict_table
from lico_bench.gate.side import Side, read_side
from lico_bench.gate.trainings import Trainings, join_trainings
from lico_bench.gate.update import Update, update_reference

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
