"""Judge rows against frozen reference scores: non-inferiority, with exit codes for CI."""

from lico_bench.gate.reference import read_reference, write_reference
from lico_bench.gate.show import verdict_table
from lico_bench.gate.verdict import Judgement, Verdict, check

__all__ = ["Judgement", "Verdict", "check", "read_reference", "verdict_table", "write_reference"]
