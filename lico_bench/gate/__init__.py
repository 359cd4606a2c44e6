"""Judge rows against frozen reference scores: non-inferiority, with exit codes for CI."""

from lico_bench.gate.reference import read_reference, write_reference
from lico_bench.gate.verdict import Judgement, Verdict, check

__all__ = ["Judgement", "Verdict", "check", "read_reference", "write_reference"]
