"""Statistics on score rows: arm means and paired differences with intervals and tests."""

from lico_bench.stats.bootstrap import Estimates, two_level
from lico_bench.stats.grid import Grid, as_frame, build_grids
from lico_bench.stats.means import MODEL_SCORES, arm_means, calibration_errors, class_macro
from lico_bench.stats.paired import NO_CONTROL, minus_control, paired_differences
from lico_bench.stats.sanity import SanityVerdict, sanity_verdict, sanity_verdicts
from lico_bench.stats.significance import false_discovery, holm

__all__ = [
    "MODEL_SCORES",
    "NO_CONTROL",
    "Estimates",
    "Grid",
    "SanityVerdict",
    "arm_means",
    "as_frame",
    "build_grids",
    "calibration_errors",
    "class_macro",
    "false_discovery",
    "holm",
    "minus_control",
    "paired_differences",
    "sanity_verdict",
    "sanity_verdicts",
    "two_level",
]
