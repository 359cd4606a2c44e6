"""Exit codes of the command line; 0 is success, and `lico_bench.gate` defines 1, 3 and 4.

1 always means a regression, so that a failure of the gate itself is never taken for one. 75
(preempted) is defined in `lico_bench.errors`, because workers use it.
"""

from __future__ import annotations

BAD_INPUT = 2  # also usage errors, files that cannot be read or written, and lack of memory
FAILED_CELLS = 5  # all other cells of the run are finished
SELF_CHECK_FAILED = 6
DAMAGED = 7  # damaged files, or recomputed values that differ from the stored ones
INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a fault of lico-bench
INTERRUPTED = 130
