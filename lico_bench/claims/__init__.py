"""Claims of the papers and verdicts on them from the rows of a run."""

from lico_bench.claims.judging import judge_claims
from lico_bench.claims.outcomes import wide_intervals
from lico_bench.claims.records import RULES, Claim, ClaimVerdict, Evidence, read_claims

__all__ = [
    "RULES",
    "Claim",
    "ClaimVerdict",
    "Evidence",
    "judge_claims",
    "read_claims",
    "wide_intervals",
]
