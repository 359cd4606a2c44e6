"""The command line as a person meets it: help, exit codes and one sentence for bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.own_process import children_cpu_s, in_own_process

HELP_SECONDS = 0.5


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
