"""What ends a command: 1 is a regression and nothing else, and no end is a traceback."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from lico_bench.cli import exit_codes
from lico_bench.cli.exit_codes import error_message
from lico_bench.errors import EXIT_PREEMPTED
from lico_bench.gate.judgement import EXIT_CODES
from tests.cli.user_things import NET, write_images, write_network


def test_every_code_says_one_thing_and_has_a_meaning():
    own = {name: code for name, code in vars(exit_codes).items() if isinstance(code, int)}
    codes = [0, *(EXIT_CODES[o] for o in ("regression", "inconclusive", "not_comparable"))]
    codes += own.values()
    assert EXIT_PREEMPTED in codes
    assert len(set(codes)) == len(codes)
    assert sorted(exit_codes.MEANINGS) == sorted(codes)


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """A fault planted where every command on a run passes; `run` looks like one from outside."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def plant(error: BaseException) -> None:
        def read_run(_path):
            raise error

        monkeypatch.setattr("lico_bench.store.read_run", read_run)

    return plant


def test_a_fault_of_ours_is_one_sentence_a_log_and_no_regression(broken, call_cli):
    broken(TypeError("unsupported operand\nand more"))
    done = call_cli("check", "run", "--against", "ref.csv")
    assert done.returncode == exit_codes.INTERNAL == 70
    found = re.fullmatch(
        r"lico-bench: internal error: TypeError: unsupported operand; this is a fault of "
        r"lico-bench, please report it with the log (.+\.log)\n",
        done.stderr,
    )
    log = Path(found[1])
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert "--against" in log.read_text(encoding="utf-8")
    log.unlink()


def test_the_traceback_is_shown_where_it_is_asked_for(broken, call_cli, monkeypatch):
    monkeypatch.setenv("LICO_BENCH_TRACEBACK", "1")
    broken(KeyError("x"))
    done = call_cli("check", "run", "--against", "ref.csv")
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "report it with the lines above" in done.stderr


def test_code_that_exits_by_itself_ends_no_gate_with_1(broken, call_cli, monkeypatch):
    monkeypatch.setenv("LICO_BENCH_TRACEBACK", "1")
    broken(SystemExit(1))
    assert call_cli("check", "run", "--against", "ref.csv").returncode == 70


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    ],
)
def test_too_little_memory_is_told_with_what_helps(broken, call_cli, error):
    broken(error)
    done = call_cli("check", "run", "--against", "ref.csv")
    assert done.returncode == 2
    assert done.stderr.startswith("lico-bench: out of memory; lower --limit")


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG]
)
def test_what_the_system_refuses_is_bad_input(number: int):
    sentence, code = error_message(OSError(number, os.strerror(number), "some/path"))
    assert code == 2
    assert re.fullmatch(r"some/path: [^;]+; [^;]+(; [^;]+)?", sentence)


def test_a_name_of_other_bytes_can_be_told():
    name = os.fsdecode(b"a\xff\nb")
    sentence, _ = error_message(PermissionError(errno.EACCES, "Permission denied", name))
    assert sentence.encode("utf-8").startswith(b"a\\udcff b: permission denied")


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("check", "run"),
        ("chekc",),
        ("run", "--seeds", "many"),
        ("verify", "run", "--sample", "-1"),
        (),
    ],
)
def test_wrong_words_are_bad_input(call_cli, words):
    assert call_cli(*words).returncode == 2


@pytest.mark.parametrize("path", ["file", "file/below", "x" * 300, "", "nowhere", "."])
@pytest.mark.parametrize(
    "words",
    [
        ("check", "PATH", "--against", "ref.csv"),
        ("compare", "PATH", "PATH"),
        ("compare", "PATH", ""),
        ("report", "PATH"),
        ("verify", "PATH"),
        ("publish", "PATH", "copy"),
        ("run", "--suite", "PATH"),
        ("score", "--model", "net.py:Net", "--images", "PATH"),
        ("explain", "PATH"),
        ("self-check", "--load", "PATH"),
    ],
    ids=lambda words: words[0],
)
def test_a_path_that_is_not_what_it_should_be_is_one_sentence(call_cli, words, path):
    Path("file").write_text("no such thing", encoding="utf-8")
    Path("net.py").write_text("from torch.nn import Identity as Net", encoding="utf-8")
    done = call_cli(*(path if word == "PATH" else word for word in words))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("lico-bench: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--datasets", "cifar10", "--out", "file"),
        ("run", "--datasets", "cifar10", "--out", "file/below"),
        ("score", "--model", "net.py:Net", "--images", "photos", "--out", "file"),
        ("explain", "photos/red/0.png", "--model", "net.py:Net", "--out", "file/map.png"),
        ("report", "--out", "file"),
    ],
)
def test_an_out_that_is_a_file_is_told_before_anything_is_done(call_cli, monkeypatch, words):
    write_network(Path())
    write_images(Path("photos"))
    Path("file").write_text("mine")
    for name in ("run", "score", "explain", "report"):  # what comes next
        monkeypatch.setattr(f"lico_bench.cli.{name}.loading", lambda *_names: pytest.fail("late"))
    done = call_cli(*words)
    assert done.returncode == 2
    assert (
        "file is a file, so a folder cannot be written there; choose another --out" in done.stderr
    )
    assert Path("file").read_text() == "mine"


def test_names_between_colons_are_no_images(call_cli):
    Path("net.py").write_text(NET.replace("class Two", "class one(Net): pass\nclass Two"))
    write_images(Path("photos"), each=1)
    done = call_cli(
        "explain", "photos/red/0.png", "--model", "net.py:one", "--layer", "conv", "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert "net.py:one: no --weights" in done.stdout
