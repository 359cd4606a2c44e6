"""`lico-bench doctor` says what is here and what is not, and never fails over what is not."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_it_tells_versions_encoders_and_data(call_cli):
    done = call_cli("doctor")
    message = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stderr
    assert "torch" in message
    assert "SHA-256 53aa51172d14" in message  # MiniLM, as its publisher has it
    assert "LICO_BENCH_CLIP" in message  # what brings the encoder that is not here
    assert message.count("STAND-IN") == 8


def test_a_damaged_dataset_is_told_and_the_rest_as_well(call_cli):
    folder = Path("data/cifar10/cifar-10-batches-py")
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(b"no pickle")
    (folder / "data_batch_1").write_bytes(b"no pickle")
    done = call_cli("doctor", "--data-root", "data")
    assert done.returncode == 0, done.stderr
    assert "batches.meta" in done.stdout
    assert done.stdout.count("STAND-IN") == 7


def test_a_data_root_that_is_not_there_is_refused(call_cli):
    done = call_cli("doctor", "--data-root", "nowhere")
    assert done.returncode == 2
    assert "no such folder: nowhere" in done.stderr


@pytest.mark.parametrize(
    "what", ["datasets", "arms", "methods", "metrics", "protocols", "backbones", "encoders"]
)
def test_ls_lists(what: str, lico_bench):
    done = lico_bench("ls", what)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 1
