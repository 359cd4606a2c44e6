"""The published study: its tables are made again from its rows, and the documents show them."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from lico_bench.report import build_report
from lico_bench.store import RunFolder, check_cell

REPOSITORY = Path(__file__).parent.parent.parent
REFERENCE = REPOSITORY / "results" / "reference"
STUDY = "docs/study.md"
RESULTS = "\n## What it found\n"
NUMBER = re.compile(r"[−+]\d+\.\d+|\d+\.\d+ %")


@pytest.fixture(scope="module")
def study():
    """`benchmarks/study.py`, loaded as the script that it is."""
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    yield importlib.import_module("study")
    sys.path.pop(0)
    for name in ("study", "study_tables", "study_rows"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def shown(study):
    """The tables that the documents are to show, by name."""
    return study.tables(REFERENCE)


@pytest.mark.slow
def test_published_tables_and_verdicts_are_made_of_the_published_rows(tmp_path):
    left = shutil.ignore_patterns("report", "protocols")
    again = Path(shutil.copytree(REFERENCE, tmp_path / "reference", ignore=left))
    made, published = build_report(RunFolder(again)).folder, REFERENCE / "report"
    names = sorted(path.name for path in (published / "tables").iterdir())
    assert len(names) > 50
    assert sorted(path.name for path in (made / "tables").iterdir()) == names
    for name in names:
        old, new = published / "tables" / name, made / "tables" / name
        if old.suffix == ".csv":  # in all digits, whose last ones are a processor's own
            assert_frame_equal(pd.read_csv(new), pd.read_csv(old), rtol=1e-6, atol=1e-9)
        else:
            assert_same_text(new.read_text(), old.read_text(), name)
    old, new = (
        json.loads((each / "verdicts.json").read_text())["claims"] for each in (made, published)
    )
    for one, other in zip(old, new, strict=True):
        assert (one["id"], one["outcome"]) == (other["id"], other["outcome"])
        assert_same_text(one["sentence"], other["sentence"], one["id"])


def assert_same_text(new: str, old: str, name: str) -> None:
    """The same text with the same numbers, up to the rounding of their last printed digit.

    Single-precision sums of bootstrap draws differ between processors.
    """
    pattern = r"\d+(?:\.(\d+))?"
    assert re.sub(pattern, "0", new) == re.sub(pattern, "0", old), name
    for one, other in zip(re.finditer(pattern, new), re.finditer(pattern, old), strict=True):
        step = 10.0 ** -len(one[1] or "")
        assert abs(float(one[0]) - float(other[0])) <= 1.5 * step, (name, one[0], other[0])


def test_what_is_published_is_whole_and_small():
    runs = [REFERENCE, *sorted((REFERENCE / "protocols").iterdir())]
    assert len(runs) == 6
    for path in runs:
        run = RunFolder(path)
        assert run.failures() == {}
        planned = [cell.key for cell in run.manifest().cells]
        assert sorted(run.finished()) == sorted(planned)
        assert all(check_cell(run.cell(key)) == () for key in planned)
    parts = (path for path in REFERENCE.rglob("*") if path.is_file() and "report" not in path.parts)
    assert sum(path.stat().st_size for path in parts) < 10e6


@pytest.mark.slow
def test_documents_show_the_tables_of_the_study(study, shown):
    for name, text in study.documents(shown).items():
        assert (REPOSITORY / name).read_text(encoding="utf-8") == text, "run benchmarks/study.py"


def test_tables_are_replaced_between_their_marks(study):
    text = "a\n<!-- study: one -->\nold\n\nold\n<!-- end -->\nb"
    assert study.replace_tables(text, {"one": "| 1 |"}) == (
        "a\n<!-- study: one -->\n| 1 |\n<!-- end -->\nb"
    )
    with pytest.raises(KeyError, match="one"):
        study.replace_tables(text, {})


def test_a_table_that_no_document_shows_is_an_error(study, shown):
    with pytest.raises(ValueError, match="no document shows another"):
        study.documents({**shown, "another": "| 1 |"})


def test_numbers_told_in_words_stand_in_a_table(shown):
    text = (REPOSITORY / STUDY).read_text(encoding="utf-8")
    section = text[text.index(RESULTS) :]
    words = re.sub(r"<!-- study: \w+ -->.*?<!-- end -->", "", section, flags=re.DOTALL)
    known = set(NUMBER.findall("\n".join(shown.values())))
    assert known
    assert [number for number in NUMBER.findall(words) if number not in known] == []
