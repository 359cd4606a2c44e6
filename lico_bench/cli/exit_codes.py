"""Exit codes of the command line; 0 is success, and `lico_bench.gate` defines 1, 3 and 4.

1 always means a regression, so that a failure of the gate itself is never taken for one. 75
(preempted) is defined in `lico_bench.errors`, because workers use it.
"""

from __future__ import annotations

from lico_bench.errors import EXIT_PREEMPTED

BAD_INPUT = 2  # also usage errors, files that cannot be read or written, and lack of memory
FAILED_CELLS = 5  # all other cells of the run are finished
SELF_CHECK_FAILED = 6
DAMAGED = 7  # damaged files, or recomputed values that differ from the stored ones
INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a fault of lico-bench
INTERRUPTED = 130

MEANINGS: dict[int, str] = {
    0: "success",
    1: "regression, and nothing else",
    BAD_INPUT: "usage error or bad input",
    3: "inconclusive gate",
    4: "not comparable",
    FAILED_CELLS: "some cells of a run failed",
    SELF_CHECK_FAILED: "failed self-check",
    DAMAGED: "damaged run or dataset",
    INTERNAL: "internal error of lico-bench",
    EXIT_PREEMPTED: "preempted (SIGTERM); repeat the command",
    INTERRUPTED: "interrupted",
}
