"""Claims of the papers and verdicts on them from the rows of a run."""

from lico_bench.claims.judging import judge_claims
from lico_bench.claims.outcomes import interval_widths
from lico_bench.claims.records import RULES, Claim, ClaimVerdict, Evidence, read_claims

__all__ = [
    "RULES",
    "Claim",
    "ClaimVerdict",
    "Evidence",
    "interval_widths",
    "judge_claims",
    "read_claims",
]
