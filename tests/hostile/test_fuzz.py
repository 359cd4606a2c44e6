"""Fuzzing of all readers: each damaged file gives a result or a LicoBenchError."""

from __future__ import annotations

import random
import traceback
import warnings
from collections import Counter
from pathlib import Path

import pytest
from fuzzed_readers import READERS, Reader

from lico_bench.checks import is_single_line
from lico_bench.errors import LicoBenchError

EVERY_DAY = 10  # damaged files per light reader in the default tests
SLOW, SLOW_HEAVY = 108, 36  # damaged files per light reader, and per other reader


def outcomes(reader: Reader, folder: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Count the outcomes of damaged reads; also returns one report per unexpected error."""
    folder.mkdir()
    files = reader.make(folder)
    whole = {path: path.read_bytes() for path in files}
    reader.read(folder)  # the undamaged example must be readable
    ended: Counter[str] = Counter()
    escaped: dict[str, str] = {}
    for number in range(count):
        rng = random.Random(f"{reader.name} {seed} {number}")
        path = rng.choice(files)
        reader.spoil(path, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # libraries warn about damaged files
                reader.read(folder)
            ended["result"] += 1
        except LicoBenchError as error:
            ended["our error" if is_single_line(str(error)) else "escaped"] += 1
        except BaseException as error:  # counted and reported below
            ended["escaped"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
            escaped.setdefault(key, f"{reader.name}, file {path.name}, number {number}: {key}\n"
                               + "".join(traceback.format_exception(error)[-6:]))  # fmt: skip
        finally:
            path.write_bytes(whole[path])
    return ended, list(escaped.values())


def table(found: dict[str, Counter[str]]) -> str:
    """Format the counts, one line per reader and a total."""
    columns = ("result", "our error", "escaped")
    lines = [f"{'reader':24}" + "".join(f"{name:>11}" for name in ("files", *columns))]
    for name, counts in (*found.items(), ("all", sum(found.values(), Counter()))):
        cells = (counts.total(), *(counts[column] for column in columns))
        lines.append(f"{name:24}" + "".join(f"{cell:11,}" for cell in cells))
    return "\n".join(lines)


def run(readers: list[Reader], folder: Path, counts: tuple[int, int], seed: int) -> str:
    """Damage and read files with each reader, `counts` for (light, other); returns the table."""
    found: dict[str, Counter[str]] = {}
    escaped = []
    for number, reader in enumerate(readers):
        count = counts[0] if reader.is_light else counts[1]
        ended, reports = outcomes(reader, folder / str(number), count, seed)
        name = reader.name if reader.name not in found else f"{reader.name}, other layout"
        found[name] = ended
        escaped += reports
    shown = table(found)
    print(f"\n{shown}")  # noqa: T201 - shown with -s: what was read, and how it ended
    assert not escaped, f"{shown}\n\n" + "\n".join(escaped)
    return shown


def test_a_few_spoilt_files_of_each_light_reader_end_in_a_result_or_an_error_of_ours(tmp_path):
    run([reader for reader in READERS if reader.is_light], tmp_path, (EVERY_DAY, 0), seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thousands_of_spoilt_files_end_in_a_result_or_an_error_of_ours(tmp_path):
    shown = run(list(READERS), tmp_path, (SLOW, SLOW_HEAVY), seed=1)
    total = int(shown.splitlines()[-1].split()[1].replace(",", ""))
    assert total >= 2_000
