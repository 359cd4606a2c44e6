"""Names with special meaning in LaTeX, HTML, terminals, spreadsheets and file systems."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from fake_run import make_run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lico_bench.checks import is_single_line
from lico_bench.cli import main
from lico_bench.data.find_files import read_class_names
from lico_bench.data.folder import load_folder
from lico_bench.errors import BrokenFileError, InvalidInputError
from lico_bench.gate import check, github_annotations, junit_xml, markdown, verdict_table
from lico_bench.gate.reference import read_reference, write_reference
from lico_bench.report import build_report, gather, show_summary
from lico_bench.report.formatting import file_part
from lico_bench.report.latex import escape, line_breakable
from lico_bench.runtime import shipped
from lico_bench.store import RunFolder, read_parquet, write_json, write_parquet
from lico_bench.store.tables import check_texts
from tests.data.miniatures import svhn

TITLES = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>", "\\input{/etc/passwd}$x^{2$%&#_~",
    "=cmd|' /C calc'!A0", "[red]x[/] [/bold] [link=file:///]y", "../../../etc/passwd",
    "שלום עולם", "汉字 🦊", "{{ 7*7 }} {% raw %}", "x" * 300, "-", "' onmouseover='alert(3)",
    "</script><!--", "::error::x", "@channel #1 `rm` |",
)  # fmt: skip


def rename(run: RunFolder, titles: tuple[str, ...]) -> None:
    """Replace all titles in the run by hostile ones."""
    manifest = json.loads(run.manifest_path.read_text())
    manifest.pop("seal", None)
    names = iter(titles * 9)
    for kind in ("datasets", "methods", "arms", "metrics"):
        for facts in manifest[kind].values():
            facts["title"] = next(names)
            for text in ("summary", "source", "pitfalls", "unit"):
                if text in facts and kind != "datasets":
                    facts[text] = f"{next(names)[:60]}"
    for facts in manifest["datasets"].values():
        facts["class_names"] = list(titles)
        facts["notes"] = list(titles)
    manifest["versions"] |= {f"package {n}": title for n, title in enumerate(titles)}
    manifest["started"] = titles[0]
    for cell in manifest["cells"]:
        cell["recipe"]["objective"] = [[title, title] for title in titles]
        cell["options"] = dict(zip(titles, titles, strict=True))
    write_json(run.manifest_path, manifest)
    for path in run.path.glob("cells/*/gallery.parquet"):
        frame = read_parquet(path)
        frame["label_name"] = [next(names) for _ in range(len(frame))]
        frame["predicted_name"] = [next(names) for _ in range(len(frame))]
        write_parquet(path, frame)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    run = make_run(
        tmp_path_factory.mktemp("names") / "=1+1 [red]", datasets={"cub200": "standin"}, seeds=1,
        num_test=12, num_explained=6,
    )  # fmt: skip
    rename(run, TITLES)
    return run


@pytest.fixture(scope="module")
def hostile_report(hostile_run):
    return build_report(hostile_run)


@pytest.mark.slow
def test_page_shows_titles_and_runs_none_of_them(hostile_report):
    page = hostile_report.html.read_text()
    for mark in ("<script>alert", "<img src=x", "</script><!--", "' onmouseover='", "49 {%"):
        assert mark not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7*7 }}" in page
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    data = [one for one in scripts if one.lstrip().startswith("{")]
    assert data, "the page carries its numbers"
    assert all(json.loads(one) for one in data)
    assert not re.search(r"""(src|href)=["']?(https?:|file:|//|javascript:)""", page)


@pytest.mark.slow
def test_latex_tables_hold_no_command_of_a_title(hostile_report):
    tables = [path for path in hostile_report.tables if path.suffix == ".tex"]
    assert len(tables) > 3
    for path in tables:
        text = path.read_text()
        assert "/etc/passwd" not in text or r"\textbackslash{}input" in text
        assert re.findall(r"\\input\{([^}]*)\}", text) == [] or path.name == "all.tex"


@pytest.mark.slow
def test_no_cell_of_a_table_is_a_formula(hostile_report):
    for path in hostile_report.folder.glob("tables/*.csv"):
        for row in csv.reader(io.StringIO(path.read_text())):
            for cell in row:
                if cell[:1] in ("=", "+", "-", "@"):
                    float(cell)  # a number may have a sign


@pytest.mark.slow
def test_files_of_a_report_have_plain_names_inside_its_folder(hostile_run, hostile_report):
    for path in hostile_report.folder.rglob("*"):
        assert re.fullmatch(r"\w[\w.-]*", path.name)
        assert path.resolve().is_relative_to(hostile_run.path.resolve())


def test_summary_on_a_terminal_prints_titles_as_they_are(hostile_run):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=400)
    console.print(show_summary(gather(hostile_run)))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert is_single_line(shown.replace("\n", ""))
    assert "]8;" not in stream.getvalue(), "no link of a title"


def test_verdict_of_the_gate_is_inert_in_every_form(hostile_run, tmp_path):
    write_reference(hostile_run, tmp_path / "reference.csv")
    verdict = check(hostile_run, reference=tmp_path / "reference.csv")
    root = ElementTree.fromstring(junit_xml(verdict, timestamp="2026-01-31T12:00:00"))
    assert root.tag == "testsuites"
    comment = markdown(verdict)
    assert not re.search(r"<(script|img)", comment)
    for line in github_annotations(verdict):
        assert line.count("\n") == 0
        assert line.startswith("::")
    stream = io.StringIO()
    Console(file=stream, width=200).print(verdict_table(verdict))
    assert "[link=" not in stream.getvalue() or "file:///" in stream.getvalue()


NO_NAMES = (
    "../../x", "/etc/passwd", "a/b", "a\\b", "=1+1", "-x", "@x", "\x1b[31m", "a\nb", "", "a\u202eb",
    "x" * 500, ".", "..", ".hidden", " x", "x.", None, 7,
)  # fmt: skip


@pytest.mark.parametrize("column", ["dataset", "arm", "method", "metric", "backbone", "cell"])
def test_rows_with_a_name_that_is_none_are_refused_and_the_column_is_named(column):
    fine = pd.DataFrame({column: ["lico", "rise(num_masks=32)"]})
    check_texts(Path("rows.parquet"), fine)
    for name in NO_NAMES:
        frame = pd.DataFrame({column: ["lico", name]}, dtype=object)
        if column == "method" and name == "":
            check_texts(Path("rows.parquet"), frame)  # the model's own scores have none
            continue
        with pytest.raises(BrokenFileError, match=f"column {column}: expected names") as caught:
            check_texts(Path("rows.parquet"), frame)
        assert is_single_line(str(caught.value))


def test_rows_of_a_run_are_checked_when_they_are_read(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cub200": "standin"}, seeds=1, num_test=2,
                   num_explained=2, methods=("grad_cam",), arms=("baseline",))  # fmt: skip
    path = next(run.path.glob("cells/*/rows.parquet"))
    write_parquet(path, read_parquet(path).replace({"method": {"grad_cam": "../../x"}}))
    with pytest.raises(BrokenFileError, match="column method: expected names"):
        run.rows()


def test_reference_with_a_name_that_a_terminal_obeys_is_refused(hostile_run, tmp_path):
    path = tmp_path / "reference.csv"
    write_reference(hostile_run, path)
    path.write_text(path.read_text().replace("grad_cam", "\x1b[2Jgrad_cam"))
    with pytest.raises(BrokenFileError, match="method: expected names"):
        read_reference(path)


def test_class_list_and_class_folders_take_letters_of_every_language(tmp_path):
    names = ("שלום", "汉字", "<b>", "$x$ & \\y", "=1+1", "wörm")
    (tmp_path / "classes.txt").write_text("\n".join(names))
    assert read_class_names(tmp_path / "classes.txt") == names
    for odd in ("\x1b[2Jant", "a\u202eb", "x" * 301):
        (tmp_path / "classes.txt").write_text(f"ant\n{odd}\n")
        with pytest.raises(BrokenFileError, match="control characters"):
            read_class_names(tmp_path / "classes.txt")
    (tmp_path / "images" / "ant\x1b[2J").mkdir(parents=True)
    (tmp_path / "images" / "ant\x1b[2J" / "a.png").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match=r"\\x1b\[2J.*rename it"):
        load_folder(tmp_path / "images")


@given(text=st.text(max_size=400))
def test_no_text_makes_a_file_name_that_leads_anywhere(text):
    part = file_part(text)
    assert re.fullmatch(r"\w[\w.-]*", part)
    assert len(part) <= 120
    assert Path(part).name == part


@given(first=st.text(max_size=200), second=st.text(max_size=200))
def test_two_texts_never_share_a_file_name(first, second):
    assert (file_part(first) == file_part(second)) == (first == second)


@given(text=st.text())
def test_no_text_leaves_a_bare_sign_of_latex(text):
    for made in (escape(text), line_breakable(text)):
        bare = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[^a-zA-Z]|\$[^$]*\$", "", made)
        assert not re.search(r"[\\&%$#_^~]", bare)
        assert made.isascii()


def test_card_and_folder_that_look_like_markup_are_printed_as_they_are(
    tmp_path, monkeypatch, capsys
):
    root = tmp_path / "[bold]data[x]" / "[" / "b]"
    root.mkdir(parents=True)
    shutil.copy(shipped("datasets") / "svhn.toml", root / "mine.toml")
    card = (root / "mine.toml").read_text()
    title = next(line for line in card.splitlines() if line.startswith("title"))
    (root / "mine.toml").write_text(card.replace(title, 'title = "[/red]Mine[link=x]"'))
    svhn(root)
    (root / "svhn").rename(root / "mine")
    monkeypatch.setenv("LICO_BENCH_DATA", str(root))
    for words in (["ls", "datasets"], ["data", "verify", "mine"], ["data", "where", "mine"]):
        monkeypatch.setattr(sys, "argv", ["lico-bench", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        assert "[/" in capsys.readouterr().out
