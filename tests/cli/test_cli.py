"""The command line as a person meets it: its output, its exit codes, its files.

What concerns the process (start-up time, signals, the console script) runs in one of its own; the
rest calls the same `main` here, because each start of torch costs seconds.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = (
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--limit", "4",
    "--methods", "grad_cam", "--out", "run", "--set", "recipe.train_limit=64",
    "--set", "recipe.epochs=1", "--set", "recipe.backbone=wrn_10_1", "--device", "cpu",
    "--text-encoder", "random",
)  # fmt: skip
HELP_SECONDS = 0.5


@pytest.fixture
def lico_bench(call_cli):
    """The command line, as a shell would see it."""
    return call_cli


def in_own_process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lico_bench", *words], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run made by the command itself."""
    folder = tmp_path_factory.mktemp("finished")
    done = subprocess.run(
        [sys.executable, "-m", "lico_bench", *TINY],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)
    return folder


def test_a_run_prints_a_table_with_intervals_and_names_the_report(finished):
    output = (finished / "output.txt").read_text()
    for word in ("STAND-IN", "Accuracy", "Insertion", "Deletion", "Overall", "95 % interval"):
        assert word in output
    assert "run/report/report.html" in output
    assert "Traceback" not in output


def test_a_run_leaves_page_tables_and_plots(finished):
    report = finished / "run" / "report"
    assert (report / "report.html").stat().st_size > 10_000
    for pattern in ("tables/*.tex", "tables/*.csv", "figures/*.png", "figures/*.pdf"):
        assert list(report.glob(pattern)), pattern


@pytest.mark.slow
def test_a_finished_run_answers_quickly(finished, monkeypatch):
    monkeypatch.chdir(finished)
    before = children_cpu_s()
    done = in_own_process(*TINY)
    assert done.returncode == 0
    assert done.stdout.count("already done") == 2
    # The bar is 10 s on a machine that is not shared; a busy one takes more cycles for the same.
    assert children_cpu_s() - before < 20


@pytest.mark.slow
def test_report_takes_the_run_it_is_given(finished, monkeypatch, lico_bench):
    monkeypatch.chdir(finished)
    (finished / "run/report/report.html").unlink()
    done = lico_bench("report", "run")
    assert done.returncode == 0
    assert (finished / "run/report/report.html").is_file()


def test_check_passes_against_its_own_reference(finished, monkeypatch, lico_bench):
    monkeypatch.chdir(finished)
    assert lico_bench("check", "run", "--against", "ref.csv", "--update").returncode == 0
    assert lico_bench("check", "run", "--against", "ref.csv").returncode in (0, 3)


def test_check_without_a_reference_is_bad_input(finished, monkeypatch, lico_bench):
    monkeypatch.chdir(finished)
    done = lico_bench("check", "run", "--against", "nowhere.csv")
    assert done.returncode == 2
    assert done.stderr.startswith("lico-bench: ")


def test_plan_runs_nothing(lico_bench):
    done = lico_bench(*TINY, "--plan")
    assert done.returncode == 0
    assert "Nothing was run." in done.stdout
    assert "2 models" in done.stdout
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "what", ["datasets", "arms", "methods", "metrics", "protocols", "backbones", "encoders"]
)
def test_ls_lists(what: str, lico_bench):
    done = lico_bench("ls", what)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--datasets", "cifar11"), "unknown dataset 'cifar11'; did you mean 'cifar10'?"),
        (("run", "--arms", "lica"), "unknown arm 'lica'; did you mean 'lico'?"),
        (("run", "--methods", "gradcam"), "did you mean 'grad_cam'?"),
        (("run", "--metrics", "inserton"), "did you mean 'insertion'?"),
        (("run", "--protocol", "rise"), "unknown protocol 'rise'"),
        (("run", "--profile", "quik"), "unknown profile 'quik'; did you mean 'quick'?"),
        (("run", "--data", "fake"), "data: expected one of auto, real, standin"),
        (("run", "--labels", "few"), "--labels: expected full or a number"),
        (("run", "--set", "epochs=3"), "--set epochs=3: expected recipe.NAME=VALUE"),
        (("run", "--set", "recipe.epoch=3"), "did you mean 'epochs'?"),
        (("run", "--device", "warp"), "device 'warp' is not available here"),
        (("run", "--executor", "clould"), "unknown executor 'clould'"),
        (("run", "--data-root", "nowhere"), "no such folder: nowhere"),
        (("run", "--data", "real"), "no images found"),
        (("report", "nowhere"), "is not a run folder"),
        (("report",), "no run under results/"),
        (("ls", "datasetz"), "did you mean 'datasets'?"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(words, message: str, lico_bench):
    done = lico_bench(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(Path().iterdir())  # nothing half-written


def test_an_environment_variable_that_names_no_folder_is_refused(lico_bench, monkeypatch):
    monkeypatch.setenv("LICO_BENCH_DATA", "nowhere")
    done = lico_bench("run")
    assert done.returncode == 2
    assert "LICO_BENCH_DATA: no such folder" in done.stderr


def test_help_answers_at_once():
    times = []
    for _ in range(3):
        before = children_cpu_s()
        assert in_own_process("--help").returncode == 0
        times.append(children_cpu_s() - before)
    assert min(times) < HELP_SECONDS


def children_cpu_s() -> float:
    """Seconds that ended child processes computed: a busy machine changes when, not how long."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_an_interrupt_leaves_a_run_that_goes_on():
    command = [sys.executable, "-m", "lico_bench", *TINY]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, children inherit that the signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(Path("run").glob("cells/*/recipe.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "repeat the same command" in errors
    assert "Traceback" not in errors
    done = in_own_process(*TINY)
    assert done.returncode == 0, done.stderr
