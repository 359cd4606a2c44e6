from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from fake_run import CLASSES, make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.report.content import gather
from lico_bench.report.latex import document, draw_tables, escape
from lico_bench.store import write_json

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed"
)
COMPLAINTS = re.compile(r"^!|Overfull|Undefined|LaTeX Warning", re.MULTILINE)


def compile_in(folder, text):
    (folder / "all.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    for _ in range(2):  # labels settle in the second pass
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log


def write_tables(content, folder):
    names = []
    for table in draw_tables(content):
        (folder / f"{table.name}.tex").write_text(table.text)
        names.append(table.name)
    return names


def test_each_method_and_subset_has_its_table(content):
    assert [table.name for table in draw_tables(content)] == [
        "model_lico",
        "grad_cam_lico",
        "grad_cam_lico_both_correct",
        "random_map_lico",
        "random_map_lico_both_correct",
    ]


def test_row_reads_metric_means_difference_and_interval(content):
    (table,) = [one for one in draw_tables(content) if one.name == "grad_cam_lico"]
    assert re.search(
        r"\\quad Deletion \$\\downarrow\$ & 0\.\d{3} & 0\.\d{3} & (\$-\$|\+)0\.\d{3} & "
        r"\[(\$-\$|\+)0\.\d{3}, (\$-\$|\+)0\.\d{3}\] \\\\",
        table.text,
    )
    assert r"\textit{CUB-200-2011 stand-in} \textbf{[STAND-IN]}" in table.text
    assert r"Protocol lico\_bench\_1@1a2b3c4d" in table.text
    assert "test 2,000 of 10,000" in table.text


def test_each_table_names_only_its_own_protocols(content):
    (model,) = [one for one in draw_tables(content) if one.name == "model_lico"]
    assert "Protocol" not in model.text


def test_one_arm_gives_tables_of_means(tmp_path):
    content = gather(make_run(tmp_path / "run", arms=("lico",), datasets={"cifar10": "real"}))
    tables = list(draw_tables(content))
    assert [table.name for table in tables] == ["model", "grad_cam", "random_map"]
    assert "Difference" not in tables[0].text
    assert "STAND-IN" not in tables[0].text


@needs_pdflatex
@pytest.mark.parametrize("arms", [("baseline", "lico"), ("lico",)])
def test_all_tables_compile_without_a_complaint(tmp_path, arms):
    content = gather(make_run(tmp_path / "run", arms=arms))
    names = write_tables(content, tmp_path)
    log = compile_in(tmp_path, document(names))
    assert not COMPLAINTS.search(log), COMPLAINTS.findall(log)
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


@needs_pdflatex
def test_tables_of_eight_datasets_fit_their_pages(tmp_path):
    names = ["imagenet", "cifar10", "cifar100", "svhn", "cub200", "cars", "aircraft", "flowers"]
    run = make_run(
        tmp_path / "run", datasets=dict.fromkeys(names, "standin"), seeds=1, num_test=20,
        num_explained=5,
    )  # fmt: skip
    log = compile_in(tmp_path, document(write_tables(gather(run), tmp_path)))
    assert not COMPLAINTS.search(log), COMPLAINTS.findall(log)


@needs_pdflatex
def test_names_full_of_special_signs_compile(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"})
    manifest = run.manifest()
    manifest["arms"]["lico"]["title"] = "50% {LICO} & $co_2^x$ ~ #1 \\end{document}"
    manifest["datasets"]["cifar10"]["title"] = "Åéß 猫 <b>“x”</b> 🙂 | \\"
    manifest["suite"]["name"] = "100%\n\\input{/etc/passwd}"
    write_json(run.manifest_path, manifest)
    compile_in(tmp_path, document(write_tables(gather(run), tmp_path)))


@needs_pdflatex
def test_every_printable_ascii_and_class_name_compiles(tmp_path):
    signs = "".join(chr(code) for code in range(32, 127))
    body = "\n\n".join(map(escape, [signs, *CLASSES, "áÀêñüÅçøæßš–—…"]))
    compile_in(tmp_path, document([]).replace("\\end{document}", body + "\n\\end{document}"))


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_escaped_text_is_plain_ascii_without_bare_specials(text):
    escaped = escape(text)
    assert escaped.isascii()
    assert escaped.isprintable() or not escaped
    assert not re.search(r"(?<!\\)[%&#_]", escaped)
