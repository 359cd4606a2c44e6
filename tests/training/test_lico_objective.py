"""The objective of LICO: its terms are the public losses of features and prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lico_bench.errors import InvalidInputError
from lico_bench.losses import manifold_matching, transport_loss
from lico_bench.training.loop import prepare
from tests.training.lico_case import (
    build,
    text_of,
)


def test_terms_are_the_public_losses_of_the_text_features(objective, batch):
    state = objective.get_extra_state()
    values = objective(batch)
    objective.set_extra_state(state)
    text, mask = text_of(objective, batch)
    features = batch.output.features
    assert torch.equal(values["transport"], transport_loss(features, text, token_mask=mask))
    assert torch.equal(
        values["manifold_matching"],
        manifold_matching(features, text, temperature=objective.temperature[0]),
    )
    total = values["cross_entropy"] + 10 * values["manifold_matching"] + values["transport"]
    assert torch.allclose(objective.total(values), total)


def test_text_features_are_per_token_and_padding_is_zero(objective, batch):
    text, mask = text_of(objective, batch)
    lengths = mask.sum(1)
    assert text.shape == (6, int(lengths.max()), 16)
    assert lengths[0] == 13  # 12 of context and one of "airplane"
    assert lengths[1] > 13
    assert (text[~mask] == 0).all()
    assert torch.equal(text[0], text[4])  # one class, one prompt


def test_dropout_draws_in_training_only(batch):
    objective = build(shuffle_context=False)
    first, second = (text_of(objective, batch)[0] for _ in range(2))
    assert not torch.equal(first, second)
    objective.eval()
    first, second = (text_of(objective, batch)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_the_encoder_is_neither_trained_nor_stored(recipe):
    session = prepare(recipe, device="cpu")
    next(session.run_epoch())
    trained = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    own = sum(p.numel() for part in session.objective.parts().values() for p in part)
    assert own == sum(p.numel() for p in session.objective.parameters())
    assert own < 1e6  # MiniLM alone has 22 million
    assert {id(p) for p in session.objective.parameters()} <= trained
    assert len(session.optimizer.state) == len(trained)


def test_context_and_temperature_have_no_weight_decay(objective):
    groups = objective.parameter_groups()
    assert [group.get("weight_decay") for group in groups] == [None, 0.0]
    assert any(p is objective.prompts.tokens for p in groups[1]["params"])
    assert any(p is objective.temperature for p in groups[1]["params"])


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, {0.0: 1.0, 0.5: 1.0, 0.99: 1.0}),
        ({"weights_warmup_frac": 0.5}, {0.0: 0.0, 0.25: 0.5, 0.5: 1.0, 0.9: 1.0}),
        ({"weights_schedule": "linear"}, {0.0: 1.0, 0.25: 0.75}),
        ({"weights_schedule": "cosine"}, {0.0: 1.0, 0.5: 0.5}),
        (
            {"weights_warmup_frac": 0.2, "weights_schedule": "cosine"},
            {0.1: 0.5, 0.2: 1.0, 0.6: 0.5},
        ),
    ],
)
def test_warmup_and_schedule_scale_alpha_and_beta_and_not_the_cross_entropy(
    batch, options, factors
):
    objective = build(alpha=10.0, beta=0.5, **options).eval()
    values = objective(batch)
    added = 10 * values["manifold_matching"] + 0.5 * values["transport"]
    for position, factor in factors.items():
        expected = values["cross_entropy"] + factor * added
        assert torch.allclose(objective.total(values, position=position), expected)


def test_a_warmup_starts_as_the_baseline_and_changes_the_training(recipe):
    lico = replace(recipe, arm="lico", text_encoder="random")
    warm = replace(lico, objective=(("weights_warmup_frac", 0.9),))
    first, second = {}, {}
    for name, each in (("baseline", replace(lico, arm="baseline")), ("lico", lico), ("warm", warm)):
        session = prepare(each, device="cpu")
        steps = session.run_epoch()
        for weights in (first, second):
            next(steps)  # the first update of a warm-up has weight 0
            weights[name] = next(session.classifier.features.parameters()).detach().clone()
    assert torch.equal(first["warm"], first["baseline"])
    assert not torch.equal(first["lico"], first["baseline"])
    assert not torch.equal(second["warm"], second["baseline"])


def test_prompts_too_long_for_the_encoder_are_refused():
    with pytest.raises(InvalidInputError, match="lower num_context"):
        build(num_context=600)
