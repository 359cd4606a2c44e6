"""A pair differs in one thing: the objective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lico_bench.training.loop import prepare
from lico_bench.training.session import Session


def run_and_record(session: Session) -> list[torch.Tensor]:
    """Train to the end and return every batch the classifier saw."""
    seen: list[torch.Tensor] = []
    handle = session.classifier.register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0].detach().clone())
    )
    for _ in range(session.recipe.epochs):
        for _ in session.run_epoch():
            pass
    handle.remove()
    return seen


@pytest.fixture
def pair(recipe):
    return {arm: prepare(replace(recipe, arm=arm), device="cpu") for arm in ("baseline", "lico")}


def test_recipes_of_a_pair_share_their_key(recipe):
    assert recipe.pair_key == replace(recipe, arm="baseline", text_encoder="other").pair_key
    assert recipe.pair_key != replace(recipe, seed=1).pair_key
    assert recipe.pair_key != replace(recipe, epochs=3).pair_key


def test_initial_weights_are_the_same_bits(pair):
    states = [session.classifier.state_dict() for session in pair.values()]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_batches_and_updates_are_the_same_bits(pair):
    plain, lico = (run_and_record(session) for session in pair.values())
    assert len(plain) == len(lico) == 6
    assert all(torch.equal(a, b) for a, b in zip(plain, lico, strict=True))
    for session in pair.values():
        steps = {int(s["momentum_buffer"].numel() > 0) for s in session.optimizer.state.values()}
        assert steps == {1}


# Those whose steps are made of unlike operations; the rest share theirs.
UNLIKE_ARMS = ("baseline", "cgc", "lico", "lico_authors_code", "lico_fletcher", "lico_response")
MANY_PROMPTS = UNLIKE_ARMS[3:]  # seconds each, for their text encoder's sake


@pytest.fixture
def two_threads():
    """Sums that depend on who comes first show with more than one thread alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    "arm",
    [pytest.param(a, marks=[pytest.mark.slow] * (a in MANY_PROMPTS)) for a in UNLIKE_ARMS],
)
def test_a_training_twice_gives_the_same_bits(recipe, arm):
    weights = []
    for _ in range(2):
        session = prepare(
            replace(recipe, arm=arm, batch_size=16, train_limit=32, epochs=1), device="cpu"
        )
        run_and_record(session)
        weights.append(session.classifier.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_the_objectives_draws_touch_no_other_generator(recipe):
    session = prepare(recipe, device="cpu")
    before = torch.random.get_rng_state()
    run_and_record(session)
    assert torch.equal(torch.random.get_rng_state(), before)
    plain = prepare(replace(recipe, arm="baseline"), device="cpu")
    run_and_record(plain)
    for purpose, generator in session.generators.items():
        assert torch.equal(generator.get_state(), plain.generators[purpose].get_state())


def test_both_arms_end_as_the_same_kind_of_classifier(pair):
    models = [session.finish() for session in pair.values()]
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1]
    assert [type(m) for m in models[0].modules()] == [type(m) for m in models[1].modules()]


def test_trained_arms_have_the_same_parameters_and_operations(pair):
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for session in pair.values():
        model = session.finish()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(torch.zeros(2, 3, 32, 32))
        counts.append((sum(p.numel() for p in model.parameters()), counter.get_total_flops()))
    assert counts[0] == counts[1]
    assert counts[0][1] > 0
