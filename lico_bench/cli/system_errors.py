"""One-sentence messages for errors of the operating system and internal errors of lico-bench."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path

from lico_bench.cli.exit_codes import BAD_INPUT, INTERNAL
from lico_bench.errors import escape_controls

TRACEBACK_VARIABLE = "LICO_BENCH_TRACEBACK"  # 1: print the traceback instead of writing a log
MAX_LENGTH = 300  # characters of the original message that are kept
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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return escape_controls(lines[0][:MAX_LENGTH]) if lines else ""


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
