from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lico_bench.metrics import METRICS
from lico_bench.report import formatting
from lico_bench.report.gathering import gather
from lico_bench.report.latex import (
    MAX_TOGETHER,
    document,
    draw_tables,
    escape,
    line_breakable,
    typeset,
)
from lico_bench.report.tables import Cell, Row, Section, Table
from lico_bench.stats import MODEL_SCORES
from lico_bench.store.run_records import ArmRecord, MethodRecord
from tests.report.fake_run import CLASSES, make_run
from tests.report.told_claims import piece, verdict

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed"
)
COMPLAINTS = re.compile(r"^!.*|Overfull.*|.*[Uu]ndefined.*|LaTeX Warning.*", re.MULTILINE)
HOSTILE = "50% {LICO} & $co_2^x$ ~ #1 \\end{document} --"


def compile_in(folder, text, *, passes=1):
    """The log; the first pass knows no labels yet and says so."""
    (folder / "all.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    for _ in range(passes):
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log


def complaints(log, *, passes=1):
    found = COMPLAINTS.findall(log)
    # Without a file of labels every label is new.
    return [one for one in found if passes > 1 or "Label(s) may have changed" not in one]


def write_tables(tables, folder):
    for table in tables:
        (folder / f"{table.name}.tex").write_text(table.text)
    return [table.name for table in tables]


def sheet(lines, **changes):
    requested = {
        "name": "some", "title": "Some", "columns": ("Score", "Mean"),
        "sections": (Section("CIFAR-10", tuple(lines), notes=("Real images.",)),),
    } | changes  # fmt: skip
    return Table(**requested)


def row(*texts, labels=1, **facts):
    """A row whose first cells are labels."""
    cells = [Cell(text, "label" if k < labels else "value") for k, text in enumerate(texts)]
    return Row(tuple(cells), **facts)


def pages_of(folder):
    """The text of each page."""
    done = subprocess.run(
        ["pdftotext", "-layout", "all.pdf", "-"], cwd=folder, capture_output=True, check=True
    )
    return done.stdout.decode().split("\f")[:-1]


def grown(content, arms):
    """The run with every metric on eight data sets, the numbers of insertion repeated."""
    specs = {name: METRICS[name].spec for name in METRICS}

    def repeat(frame):
        own = frame[(frame["method"] == "") | (frame["method"] == "grad_cam")]
        kept = [name for name in arms if name != "baseline" or "difference" not in frame]
        parts = []
        for arm in kept:
            source = own[own["arm"] == ("baseline" if arm == "baseline" else "lico")]
            parts.append(source[source["method"] == ""].assign(arm=arm))
            model = source[source["metric"] == "insertion"].assign(arm=arm)
            parts += [model.assign(metric=name, protocol=f"{name}_1@1a2b3c4d") for name in specs]
        return pd.concat(parts, ignore_index=True)

    blocks = [
        replace(
            block,
            dataset=f"{block.dataset}{number}",
            title=f"{block.title} {number}",
            means=repeat(block.means),
            differences=repeat(block.differences),
            both_correct=repeat(block.both_correct),
        )
        for number in range(4)
        for block in content.blocks
    ]
    rows = content.rows[content.rows["method"] != "random_map"]
    return replace(
        content, rows=rows, blocks=tuple(blocks), arms=arms, specs={**MODEL_SCORES, **specs}
    )


def test_layout_shows_published_beside_own_and_gaps_once(tables):
    text = tables["layout_accuracy"]
    assert r"ImageNet-1k & Paper 2023 & \multicolumn{2}{c}{\textit{not confirmed}}" in text
    assert re.search(r"response 2024, wrn\\_28\\_2\\textsuperscript{a} & 93.79\\,\\% & 94.47", text)
    assert re.search(r"This run, wrn\\_10\\_2 & \\begin{tabular}\[t\]{@{}r@{}}\d", text)
    assert "second hand" in text
    assert "CIFAR-10 &" in text
    assert text.count("CIFAR-10 &") == 1  # a label that repeats is left blank


def test_slip_of_arithmetic_is_a_footnote_of_its_cell(tables):
    text = tables["layout_insertion_deletion_imagenette"]
    (mark,) = re.findall(r"0\.3929\\textsuperscript{(\w)}", text)
    assert re.search(rf"\\textsuperscript{{{mark}}} Authors' response.*is 0\.3956\.", text)


@needs_pdflatex
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
def test_a_long_table_is_broken_over_pages_with_its_header_on_each(tmp_path):
    rows = [row(f"Score {n}", "0.5", protocol=f"p{n}@1", unit="nats") for n in range(150)]
    table = typeset(sheet(rows), "run")
    log = compile_in(tmp_path, document(write_tables([table], tmp_path)), passes=3)
    assert not complaints(log, passes=3)
    pages = pages_of(tmp_path)
    shown = [re.findall(r"Score (\d+) +0\.5", page) for page in pages]
    assert [int(n) for page in shown for n in page] == list(range(150))
    broken = [page for page, numbers in zip(pages, shown, strict=True) if numbers]
    assert len(broken) > 2
    for number, page in enumerate(broken):
        assert re.search(r"^ *Score +Mean$", page, re.MULTILINE)
        assert ("Table 1, continued" in page) == (number > 0)
        assert page.index("CIFAR-10") < page.index("Score ", page.index("Mean"))
    notes = "".join(pages)
    assert notes.count("Real images.") == 1
    assert set(re.findall(r"\bp(\d+)@", notes)) == {str(n) for n in range(150)}


def test_rows_of_one_label_stay_on_one_page_and_show_it_once():
    rows = [row(f"claim {n // 7}", f"piece {n}", labels=2) for n in range(140)]
    text = typeset(sheet(rows, sections=(Section("", tuple(rows)),)), "run").text
    ends = re.findall(r"^(.*) & piece (\d+) \\tabularnewline(\*?)$", text, re.MULTILINE)
    assert len(ends) == 140
    for label, number, star in ends:
        assert label == (f"claim {int(number) // 7}" if int(number) % 7 == 0 else "")
        assert bool(star) == (int(number) % 7 < 6)  # no page break after the row


def test_title_of_a_section_stays_with_its_rows_and_is_repeated_in_a_long_one():
    rows = [row(f"Score {n}", "0.5") for n in range(MAX_TOGETHER + 1)]
    text = typeset(sheet(rows), "run").text
    titles = re.findall(r"\\textit{(CIFAR-10)}( \(continued\))?} \\\\\*\n(.*) &", text)
    assert titles == [
        ("CIFAR-10", "", r"\quad Score 0"),
        ("CIFAR-10", " (continued)", rf"\quad Score {MAX_TOGETHER}"),
    ]


def test_a_bracket_after_the_end_of_a_line_is_no_option_of_it():
    table = typeset(sheet([row("[1cm]", "*"), row("*", "1")]), "run")
    rows = [line for line in table.text.splitlines() if r"\tabularnewline" in line]
    assert [line[:8] for line in rows[-2:]] == [r"\quad [1", r"\quad * "]
    table = typeset(sheet([], sections=(Section("", (row("[1cm]", "1"),)),)), "run")
    assert r"{}[1cm] & 1 \tabularnewline" in table.text


@pytest.mark.parametrize(
    ("count", "font"), [(2, "small"), (5, "small"), (7, "footnotesize"), (8, "scriptsize")]
)
def test_font_shrinks_with_the_number_of_columns(count, font):
    rows = [row("Score", *["0.5"] * (count - 1))]
    table = typeset(sheet(rows, columns=("Score", *["Mean"] * (count - 1))), "run")
    assert f"\\begingroup\\{font}\n" in table.text


@pytest.mark.parametrize(("length", "column"), [(40, "l"), (41, r"p{0.4\linewidth}")])
def test_long_labels_are_wrapped(length, column):
    text = typeset(sheet([row("x" * length, "1"), row("y", "2")]), "run").text
    assert rf"\begin{{longtable}}{{@{{}}{column}r@{{}}}}" in text
    assert (r"\raggedright y & 2" in text) == (column != "l")


@needs_pdflatex
def test_tables_of_a_run_compile_without_a_complaint(tmp_path, content):
    alone = gather(make_run(tmp_path / "run", arms=("lico",), num_test=20, num_explained=8))
    content = replace(content, claims=(verdict(evidence=[piece()] * 12),) * 9)
    names = write_tables([*draw_tables(content)], tmp_path)
    names += write_tables(
        [t for t in draw_tables(alone) if not re.match("layout|claims", t.name)], tmp_path
    )
    log = compile_in(tmp_path, document(names), passes=3)
    assert not complaints(log, passes=3)
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


@needs_pdflatex
@pytest.mark.slow
def test_every_metric_on_eight_datasets_with_hostile_names_fits_its_pages(tmp_path, content):
    arms = ("baseline", "lico")
    manifest = replace(
        content.manifest,
        arms={"lico": ArmRecord(title=HOSTILE)},
        methods={"grad_cam": MethodRecord(title="Åéß 猫 <b>“x”</b> 🙂 | \\")},
        suite=replace(content.manifest.suite, name="100%\n\\input{/etc/passwd}"),
    )
    content = replace(content, manifest=manifest, claims=(verdict(title=HOSTILE),))
    content = grown(content, arms)
    blocks = (replace(content.blocks[0], title=f"[1cm] {HOSTILE}"), *content.blocks[1:])
    tables = list(draw_tables(replace(content, blocks=blocks)))
    names = [table.name for table in tables]
    assert len(names) == len(set(names))
    shown = "".join(
        table.text for table in tables if re.match(r"grad_cam_lico(_\d+)?$", table.name)
    )
    for name in METRICS:
        title = formatting.title_with_arrow(METRICS[name].spec)
        found = re.findall(rf"\\quad (?:\\raggedright )?{re.escape(escape(title))} &", shown)
        assert len(found) == len(blocks), name
    assert not complaints(compile_in(tmp_path, document(write_tables(tables, tmp_path))))


@needs_pdflatex
def test_every_printable_ascii_and_class_name_compiles(tmp_path):
    signs = "".join(chr(code) for code in range(32, 127))
    body = "\n\n".join(map(escape, [signs, *CLASSES, "áÀêñüÅçøæßš–—…≤±∞"]))
    compile_in(tmp_path, document([]).replace("\\end{document}", body + "\n\\end{document}"))


@given(st.text(max_size=40))
@example("---")
@settings(max_examples=200, deadline=None)
def test_escaped_text_is_plain_ascii_without_bare_specials(text):
    for escaped in (escape(text), line_breakable(text)):
        assert escaped.isascii()
        assert escaped.isprintable() or not escaped
        assert not re.search(r"(?<!\\)[%&#_]", escaped)
        assert "--" not in escaped.replace("---", "").replace("--", "", text.count("–"))


def test_long_names_may_be_broken_and_short_ones_are_not():
    assert line_breakable("wrn_28_2 at 95 %") == r"wrn\_28\_2 at 95\,\%"
    assert line_breakable("baselines/published/paper_2023.csv").count(r"\allowbreak{}") == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--seeds", "-{}-seeds"),
        ("---", "-{}-{}-"),
        ("-\N{SMALL HYPHEN-MINUS}\N{FULLWIDTH HYPHEN-MINUS}", "-{}-{}-"),
        ("\N{EN DASH}-", "--{}-"),
        ("1\N{EN DASH}3 \N{EM DASH} 4", "1--3 --- 4"),
    ],
)
def test_hyphens_in_a_row_stay_hyphens(text, expected):
    assert escape(text) == expected
