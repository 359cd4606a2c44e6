"""What is recorded of feature maps: against loops, and against maps that are known to collapse."""

from __future__ import annotations

import math

import pytest
import torch

from lico_bench.errors import TrainingError
from lico_bench.training import train
from lico_bench.training.loop import prepare
from lico_bench.training.session import channel_geometry, rate_factor


def test_cosine_and_rank_agree_with_a_loop():
    features = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cosines, ranks = [], []
    for image in features:
        rows = image / image.norm(dim=1, keepdim=True)
        cosines += [float(rows[i] @ rows[j]) for i in range(5) for j in range(5) if i != j]
        values = torch.linalg.svdvals(rows)
        shares = (values / values.sum()).tolist()
        ranks.append(math.exp(-sum(p * math.log(p) for p in shares)))
    found = channel_geometry(features)
    assert found["channel_cosine"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)
    assert found["effective_rank"] == pytest.approx(sum(ranks) / 3, abs=1e-4)


def test_channels_that_are_one_map_have_cosine_and_rank_one():
    one = torch.rand(2, 1, 9).expand(2, 6, 9) * torch.arange(1, 7)[None, :, None]
    found = channel_geometry(one)
    assert found["channel_cosine"] == pytest.approx(1, abs=1e-5)
    assert found["effective_rank"] == pytest.approx(1, abs=0.02)


def test_channels_apart_have_cosine_zero_and_full_rank():
    found = channel_geometry(torch.eye(6)[None])
    assert found["channel_cosine"] == pytest.approx(0, abs=1e-6)
    assert found["effective_rank"] == pytest.approx(6, abs=1e-3)


def test_dead_channels_are_left_out_of_the_cosine():
    features = torch.zeros(1, 6, 4)
    features[0, :2] = torch.eye(4)[:2]
    assert channel_geometry(features)["channel_cosine"] == pytest.approx(0, abs=1e-6)
    assert math.isfinite(channel_geometry(torch.zeros(1, 6, 4))["effective_rank"])


def test_every_epoch_records_geometry_and_the_gradient_of_each_term(recipe):
    history = train(recipe, device="cpu").history
    for epoch in (1, 2):
        seen = history[history.epoch == epoch].set_index("quantity")["value"]
        assert -1 <= seen["channel_cosine"] <= 1
        assert 1 <= seen["effective_rank"] <= 64
        for term in ("cross_entropy", "manifold_matching", "transport"):
            assert seen[f"{term}_gradient_norm"] > 0


def test_the_words_nearest_to_the_context_are_told(recipe):
    words = train(recipe, device="cpu").findings["context_words"]
    assert len(words) == 12
    assert all(len(nearest) == 3 for nearest in words)
    assert all(isinstance(n["word"], str) and -1 <= n["cosine"] <= 1 for w in words for n in w)


def test_features_that_are_not_finite_name_the_step(recipe):
    session = prepare(recipe, device="cpu")
    with torch.no_grad():
        next(session.classifier.features.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1 of 6 .*lower the learning rate"):
        next(session.run_epoch())


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("cosine", 1.0, 0.5, 0.0),
        ("cosine_7_16", 1.0, 0.7730, 0.1951),
        ("one_cycle", 0.04, 0.8117, 0.0),
    ],
)
def test_schedules_pass_through_their_known_points(schedule, first, middle, last):
    steps = 100_000
    assert rate_factor(schedule, 0, steps) == pytest.approx(first, abs=1e-4)
    assert rate_factor(schedule, steps // 2, steps) == pytest.approx(middle, abs=1e-4)
    assert rate_factor(schedule, steps - 1, steps) == pytest.approx(last, abs=1e-4)
    assert max(rate_factor(schedule, k, 1000) for k in range(1000)) == pytest.approx(1, abs=1e-4)
