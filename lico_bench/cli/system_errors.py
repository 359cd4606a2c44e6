"""Errors that are not ours, as one sentence: the system's refusals, and faults of lico-bench."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

from lico_bench.cli.exit_codes import BAD_INPUT, INTERNAL
from lico_bench.errors import plain

SHOW = "LICO_BENCH_TRACEBACK"  # 1 prints the traceback in place of filing it
LONGEST = 300  # signs of an error's own words
REMEDIES = {
    errno.EACCES: "allow this user to use it, or name another",
    errno.EPERM: "allow this user to use it, or name another",
    errno.EROFS: "name a place that can be written",
    errno.EISDIR: "expected a file, got a folder; name a file",
    errno.ENOTDIR: "expected a folder, got a file; name another",
    errno.EEXIST: "expected a folder, got a file; name another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "name what the links should lead to",
    errno.EMFILE: "allow more open files, such as with ulimit -n 4096",
    errno.ENOSPC: "free some space and repeat the command",
    errno.EDQUOT: "free some space and repeat the command",
}
NO_MEMORY = (
    "out of memory; lower --limit, --image-size or --set recipe.batch_size=..., run fewer "
    "--workers, or free memory"
)


def message(error: BaseException) -> tuple[str, int]:
    """One sentence on an error that nothing expected, and the exit code."""
    if _is_of_memory(error):
        return NO_MEMORY, BAD_INPUT
    if isinstance(error, OSError) and _is_of_system(error):
        return _refused(error), BAD_INPUT
    kind = type(error).__name__
    words = f"{kind}: {first}" if (first := _first_line(error)) else kind
    return f"internal error: {words}; this is a fault of lico-bench, {_report(error)}", INTERNAL


def _is_of_memory(error: BaseException) -> bool:
    """Whether Python, the system or torch, which may not be loaded, ran out of memory."""
    is_torch = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    is_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or is_system or is_torch


def _is_of_system(error: OSError) -> bool:
    """Whether it is about a file, or about what no file is to blame for."""
    return error.errno is not None and (error.filename is not None or error.errno in REMEDIES)


def _refused(error: OSError) -> str:
    number = error.errno or 0
    named = error.filename2 or error.filename  # of a renaming, where it was to go
    place = "" if named is None else f"{os.fsdecode(named)}: "
    why = (error.strerror or os.strerror(number)).lower()
    return plain(f"{place}{why}; {REMEDIES.get(number, 'correct the path, or name another')}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return plain(lines[0][:LONGEST]) if lines else ""


def _report(error: BaseException) -> str:
    """What to do; the traceback is shown or filed."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get(SHOW) == "1":
        print(text, file=sys.stderr)
        return "please report it with the lines above"
    try:
        handle, name = tempfile.mkstemp(prefix="lico-bench-", suffix=".log")
        os.close(handle)
        log = Path(name)
        log.write_text(f"{sys.argv}\n{text}", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"please report it with what {SHOW}=1 shows"
    return f"please report it with the log {log}"
