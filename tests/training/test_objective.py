"""Each term of an objective trains what it declares, and a term that trains nothing is an error."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lico_bench.errors import TrainingError
from lico_bench.records import Output
from lico_bench.training import ARMS, Batch, Objective, Term
from lico_bench.training.loop import prepare
from lico_bench.training.objective import CROSS_ENTROPY, assert_terms_train, term_gradients
from tests.training.lico_case import (
    build,
    forbidden,
)


def keep_graph(value: torch.Tensor) -> None:
    value.backward(retain_graph=True)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_what_its_terms_declare(recipe, arm: str):
    session = prepare(replace(recipe, arm=arm), device="cpu")
    images, labels = next(session._batches(skip=0))
    session.classifier.train()
    output = session.classifier(images)
    values = session.objective(Batch(images, labels, output, session.classifier))
    assert set(values) == {term.name for term in session.objective.terms}
    gradients = term_gradients(session.objective, values, session.classifier, keep_graph)
    assert_terms_train(session.objective, gradients)
    for term in session.objective.terms:
        reached = {part for part, norm in gradients[term.name].items() if norm > 0}
        assert reached == set(term.trains), term.name  # nothing is trained unsaid either
    assert all(p.grad is None for p in session.classifier.parameters())


class DeadObjective(Objective):
    """A second term cut out of the graph, as in the released code."""

    terms = (CROSS_ENTROPY, Term("transport", 1.0, ("features",)))

    def forward(self, batch):
        constant = batch.output.features.detach().square().mean()
        return {**super().forward(batch), "transport": constant}


class HalfDeadObjective(DeadObjective):
    """A second term that reaches the classifier's head and not its features."""

    def forward(self, batch):
        return {**super().forward(batch), "transport": batch.output.logits.sum() * 0.0}


@pytest.mark.parametrize("objective_class", [DeadObjective, HalfDeadObjective])
def test_a_term_that_trains_nothing_is_an_error(objective_class):
    classifier = nn.ModuleDict({"features": nn.Linear(4, 4), "head": nn.Linear(4, 3)})
    features = classifier["features"](torch.rand(2, 4))
    output = Output(classifier["head"](features), features[:, None])
    objective = objective_class()
    values = objective(Batch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), output, forbidden))
    gradients = term_gradients(objective, values, classifier, keep_graph)
    with pytest.raises(TrainingError, match="'transport': its gradient on features is 0"):
        assert_terms_train(objective, gradients)


def test_a_gradient_norm_is_of_the_weighted_term(objective, batch):
    classifier = nn.ModuleDict({"features": nn.Linear(16, 16), "head": nn.Linear(16, 3)})
    maps = classifier["features"](batch.output.features)
    batch = batch._replace(output=Output(classifier["head"](maps.mean(1)), maps))
    norms = []
    for alpha in (10.0, 5.0):
        arm = build(shuffle_context=False, alpha=alpha).eval()
        gradients = term_gradients(arm, arm(batch), classifier, keep_graph)
        norms.append(gradients["manifold_matching"]["features"])
    assert norms[0] == pytest.approx(2 * norms[1], rel=1e-4)
