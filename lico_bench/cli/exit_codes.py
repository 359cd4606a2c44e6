"""What an exit code says; 0 well, and 1, 3 and 4 are those of `lico_bench.gate`.

1 is a regression and nothing else: whoever reads it in continuous integration need not ask whether
the gate itself broke. 75 (preempted) stands in `lico_bench.errors`, where workers find it.
"""

from __future__ import annotations

BAD_INPUT = 2  # also wrong words, a file that cannot be read or written, too little memory
FAILED_CELLS = 5  # the run is finished but for cells that failed
SELF_CHECK_FAILED = 6
DAMAGED = 7  # a run or dataset that is not what it was, or that computes otherwise
INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a fault of lico-bench
INTERRUPTED = 130
