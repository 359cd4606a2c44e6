"""Exit codes of the command line, and the message of each error that is not bad input.

0 is success, and `lico_bench.gate` defines 1, 3 and 4. 1 always means a regression, so that a
failure of the gate itself is never taken for one. 75 (preempted) is defined in `lico_bench.errors`,
because workers use it.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

from lico_bench.errors import EXIT_PREEMPTED, escape_controls

BAD_INPUT = 2  # also usage errors, files that cannot be read or written, and lack of memory
FAILED_CELLS = 5  # all other cells of the run are finished
SELF_CHECK_FAILED = 6
DAMAGED = 7  # damaged files, or recomputed values that differ from the stored ones
INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a fault of lico-bench
INTERRUPTED = 130

MEANINGS: dict[int, str] = {
    0: "success",
    1: "regression; no other error has this code",
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

TRACEBACK_VARIABLE = "LICO_BENCH_TRACEBACK"  # 1: print the traceback instead of writing a log
REMEDIES = {
    errno.EACCES: "change its permissions, or choose another path",
    errno.EPERM: "change its permissions, or choose another path",
    errno.EROFS: "choose a path on a writable file system",
    errno.EISDIR: "expected a file, got a folder; choose a file",
    errno.ENOTDIR: "expected a folder, got a file; choose another path",
    errno.EEXIST: "expected a folder, got a file; choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the loop of symbolic links, or choose another path",
    errno.EMFILE: "allow more open files, such as with ulimit -n 4096",
    errno.ENOSPC: "free some space and repeat the command",
    errno.EDQUOT: "free some space and repeat the command",
}
OUT_OF_MEMORY = (
    "out of memory; lower --limit, --image-size or --set recipe.batch_size=..., run fewer "
    "--workers, or free memory"
)


def error_message(error: BaseException) -> tuple[str, int]:
    """Return one sentence for an unexpected error, and the exit code."""
    if _is_out_of_memory(error):
        return OUT_OF_MEMORY, BAD_INPUT
    if isinstance(error, OSError) and _is_system_error(error):
        return _system_error_message(error), BAD_INPUT
    kind = type(error).__name__
    summary = f"{kind}: {first}" if (first := _first_line(error)) else kind
    request = _report_request(error)
    return f"internal error: {summary}; this is a fault of lico-bench, {request}", INTERNAL


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, the system or torch ran out of memory; torch may not be imported."""
    is_torch = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    is_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or is_system or is_torch


def _is_system_error(error: OSError) -> bool:
    """Whether the error names a file, or has a remedy that needs none."""
    return error.errno is not None and (error.filename is not None or error.errno in REMEDIES)


def _system_error_message(error: OSError) -> str:
    number = error.errno or 0
    path = error.filename2 or error.filename  # filename2 is the target of a rename
    prefix = "" if path is None else f"{os.fsdecode(path)}: "
    reason = (error.strerror or os.strerror(number)).lower()
    return escape_controls(f"{prefix}{reason}; {REMEDIES.get(number, 'correct the path')}")


def _first_line(error: BaseException, *, max_length: int = 300) -> str:
    lines = str(error).strip().splitlines()
    return escape_controls(lines[0][:max_length]) if lines else ""


def _report_request(error: BaseException) -> str:
    """Print the traceback or write it to a log; return the request to report it."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        print(text, file=sys.stderr)
        return "please report it with the lines above"
    try:
        handle, name = tempfile.mkstemp(prefix="lico-bench-", suffix=".log")
        os.close(handle)
        log = Path(name)
        log.write_text(f"{sys.argv}\n{text}", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"please report it with the output of {TRACEBACK_VARIABLE}=1"
    return f"please report it with the log {log}"
