"""Does a map change with the class: class-blind methods, draws of the other class, the batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from explained_case import NUM_IMAGES, in_batches, inputs_of
from scipy import stats

from lico_bench.metrics.randomisation import random_logit

ATOL_BATCH = 1e-4  # a batch of one may take another kernel
ATOL_FP32 = 1e-5


def test_a_method_that_does_not_look_at_the_class_has_one():
    for method in ("edge_map", "center_map", "random_map"):
        for kind in ("ssim", "spearman"):
            value = random_logit(inputs_of(method), similarity=kind)
            assert torch.allclose(value, torch.ones(NUM_IMAGES), atol=ATOL_FP32)


def test_maps_of_a_trained_network_change_with_the_class():
    assert random_logit(inputs_of()).mean() < 0.5


def test_the_score_is_the_similarity_to_the_map_of_the_class_asked_for():
    inputs = inputs_of()
    requested = []
    inner = inputs.explainer
    inputs = replace(inputs, explainer=lambda m, x, y: (requested.append(y), inner(m, x, y))[1])
    found = random_logit(inputs, similarity="spearman")
    (others,) = requested
    assert (others != inputs.targets).all()
    maps = inner(inputs.network, inputs.images, others)
    for row in range(NUM_IMAGES):
        pair = (inputs.maps[row].flatten(), maps[row].flatten())
        assert float(found[row]) == pytest.approx(stats.spearmanr(*pair).statistic, abs=ATOL_FP32)


def test_every_other_class_is_drawn_about_equally_often():
    counts: Counter[int] = Counter()
    for seed in range(60):
        inputs = inputs_of("center_map", seed=seed)
        inputs = replace(
            inputs,
            targets=torch.ones_like(inputs.targets),
            explainer=lambda _m, x, y: (counts.update(y.tolist()), torch.rand(x[:, 0].shape))[1],
        )
        random_logit(inputs)
    assert set(counts) == {0, 2}
    assert abs(counts[0] / counts.total() - 0.5) < 0.1  # four standard errors of 420 draws


@pytest.mark.parametrize("size", [1, 3])
def test_scores_do_not_depend_on_the_batch(size: int):
    whole = in_batches(random_logit, NUM_IMAGES)
    assert torch.allclose(in_batches(random_logit, size), whole, atol=ATOL_BATCH)


def test_the_global_generators_are_left_alone():
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is watched
    random_logit(inputs_of())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
