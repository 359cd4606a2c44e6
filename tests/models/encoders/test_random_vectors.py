"""The control: fixed vectors, no language."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lico_bench.models import ENCODERS
from lico_bench.models.encoders import random_vectors

NAMES = ("cat", "bird", "stop sign", "great red winged blackbird")
ATOL_NORM = 1e-6  # the layer norm of a row may round otherwise in another batch


@pytest.fixture(scope="module")
def encoder():
    return ENCODERS["random"].build(NAMES)


def test_a_name_has_as_many_tokens_as_words_and_each_its_own_vector(encoder):
    vectors, mask, pooled = encoder.encode(torch.zeros(0, 384), torch.arange(4))
    assert mask.sum(1).tolist() == [1, 1, 2, 4]
    tokens = vectors[mask]
    cosines = torch.corrcoef(tokens) - torch.eye(len(tokens))
    assert cosines.abs().max() < 0.25  # five standard deviations of 1 / sqrt(384)
    assert torch.allclose(pooled[2], vectors[2, :2].mean(0), atol=ATOL_NORM)


def test_vectors_have_the_scale_of_a_layer_norm(encoder):
    context = 0.02 * torch.randn(12, 384, generator=torch.Generator().manual_seed(0))
    vectors = encoder.encode(context, torch.tensor([3])).vectors[0]
    assert torch.allclose(vectors.mean(1), torch.zeros(16), atol=1e-6)
    assert torch.allclose(vectors.var(1, correction=0), torch.ones(16), atol=0.05)


def test_the_position_permutes_rows_and_changes_none(encoder):
    context = torch.randn(5, 384, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([3])  # four words
    end, middle, front = (
        encoder.encode(context, classes, position=p).vectors[0] for p in ("end", "middle", "front")
    )
    assert torch.equal(middle, end[[0, 1, 5, 6, 7, 8, 2, 3, 4]])
    assert torch.equal(front, end[[5, 6, 7, 8, 0, 1, 2, 3, 4]])


def test_a_class_keeps_its_vectors_whatever_the_other_names_are(encoder):
    other = ENCODERS["random"].build(("a much longer name", "fish", "no entry"))
    ours = encoder.encode(torch.zeros(0, 384), torch.tensor([2])).vectors
    theirs = other.encode(torch.zeros(0, 384), torch.tensor([2])).vectors
    assert torch.equal(ours, theirs)


def test_the_context_is_turned_without_losing_length_or_angle(encoder):
    turn = encoder.turn
    assert torch.allclose(turn @ turn.T, torch.eye(384), atol=1e-5)
    assert (turn - torch.eye(384)).abs().max() > 0.5


@pytest.mark.slow
def test_another_process_draws_the_same(encoder):
    program = (
        "import torch; from lico_bench.models import ENCODERS; torch.manual_seed(7); "
        f"e = ENCODERS['random'].build({NAMES!r}); "
        "print(e.identity.sha256, float(e.table.double().sum()), float(e.turn.double().sum()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert printed[0] == encoder.identity.sha256
    assert float(printed[1]) == float(encoder.table.double().sum())
    assert float(printed[2]) == pytest.approx(float(encoder.turn.double().sum()), abs=1e-4)


def test_identity_is_the_checksum_of_the_draws():
    # Golden: uniform draws, so the same bits on every processor.
    identity = random_vectors.identify()
    assert (identity.name, identity.revision) == ("random", "1")
    assert identity.sha256[:16] == "71a248d0aa6ba47c"
