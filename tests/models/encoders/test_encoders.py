"""The layout of prompts against a slow loop, and what every text encoder promises."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.models import ENCODERS
from lico_bench.models.encoders import POSITIONS, EncoderIdentity, TextEncoder

PADDING = 0
CONTEXT = -1  # stands for a context token in the expected rows


def build(tokens, opening, closing) -> TextEncoder:
    return TextEncoder(
        EncoderIdentity("none", "", ""), [(f"class {c}", ids) for c, ids in enumerate(tokens)],
        opening=opening, closing=closing, padding=PADDING, context_width=2, width=2, max_tokens=20,
    )  # fmt: skip


@st.composite
def prompts(draw):
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    requested = draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=4))
    return (
        lengths, requested, draw(st.integers(0, 5)), draw(st.sampled_from(POSITIONS)),
        draw(st.sampled_from([(), (91,)])), draw(st.sampled_from([(), (92,), (93, 94)])),
    )  # fmt: skip


@given(prompts())
@settings(max_examples=150, deadline=None)
def test_rows_read_as_lists_put_together_one_by_one(case):
    lengths, requested, num_context, position, opening, closing = case
    tokens = [[10 * (c + 1) + t for t in range(size)] for c, size in enumerate(lengths)]
    encoder = build(tokens, opening, closing)
    layout = encoder.arrange(torch.zeros(num_context, 2), torch.tensor(requested), position)
    longest = max(len(tokens[c]) for c in requested)
    size = len(opening) + num_context + longest + len(closing)
    before = {"end": num_context, "middle": num_context // 2, "front": 0}[position]
    assert layout.ids.shape == (len(requested), size)
    for row, c in enumerate(requested):
        body = [CONTEXT] * before + tokens[c] + [CONTEXT] * (num_context - before)
        prompt = [*opening, *body, *closing]
        expected = prompt + [PADDING] * (size - len(prompt))
        places = [i for i, token in enumerate(expected) if token == CONTEXT]
        assert layout.context_at[row].tolist() == places
        got = layout.ids[row].tolist()
        assert [CONTEXT if i in places else token for i, token in enumerate(got)] == expected
        assert layout.attended[row].sum() == len(prompt)
        assert layout.attended[row, : len(prompt)].all()
        assert layout.mask[row].tolist() == [i < len(body) for i in range(num_context + longest)]


@given(prompts())
@settings(max_examples=50, deadline=None)
def test_context_tokens_are_put_in_their_order(case):
    lengths, requested, num_context, position, opening, closing = case
    encoder = build([[1] * size for size in lengths], opening, closing)
    context = torch.arange(1.0, 1 + 2 * num_context).view(num_context, 2)
    layout = encoder.arrange(context, torch.tensor(requested), position)
    rows = layout.insert(torch.zeros(*layout.ids.shape, 2), context)
    for row in rows:
        assert torch.equal(row[row[:, 0] > 0], context)


NAMES = ("cat", "bird", "stop sign", "red-winged blackbird")
ATOL_ATTENTION = 1e-5  # padded and unpadded attention sum in another order


@pytest.fixture(scope="module", params=list(ENCODERS))
def encoder(request, text_tower):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LICO_BENCH_CLIP", str(text_tower))
        return ENCODERS[request.param].build(NAMES)


def draw_context(encoder, *rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # About the scale of MiniLM's embeddings.
    return 0.05 * torch.randn(*rows, encoder.context_width, generator=generator)


@pytest.mark.parametrize("position", POSITIONS)
def test_shapes_and_masks_are_those_of_the_longest_asked_name(encoder, position):
    classes = torch.tensor([3, 1])
    vectors, mask, pooled = encoder.encode(draw_context(encoder, 4), classes, position=position)
    assert vectors.shape == (2, 4 + encoder.longest_name, encoder.width)
    assert pooled.shape == (2, encoder.width)
    assert mask.dtype == torch.bool
    assert mask[0].all()
    used = int(mask[1].sum())
    assert used == encoder.encode(draw_context(encoder, 4), classes[1:]).mask.numel()
    assert mask[1, :used].all()
    assert vectors.isfinite().all()


@pytest.mark.parametrize("position", POSITIONS)
def test_a_class_reads_the_same_whoever_is_asked_with_it(encoder, position):
    context = draw_context(encoder, 4)
    together = encoder.encode(context, torch.tensor([3, 1, 2]), position=position)
    for row, number in enumerate((3, 1, 2)):
        alone = encoder.encode(context, torch.tensor([number]), position=position)
        read = together.vectors[row][together.mask[row]]
        assert torch.allclose(read, alone.vectors[0], atol=ATOL_ATTENTION)
        assert torch.allclose(together.pooled[row], alone.pooled[0], atol=ATOL_ATTENTION)


@pytest.mark.parametrize("position", POSITIONS)
def test_one_context_per_class_goes_to_its_row(encoder, position):
    contexts, classes = draw_context(encoder, 3, 5), torch.tensor([2, 0, 3])
    together = encoder.encode(contexts, classes, position=position)
    for row, context in enumerate(contexts):
        alone = encoder.encode(context, classes[row : row + 1], position=position)
        read = together.vectors[row][together.mask[row]]
        assert torch.allclose(read, alone.vectors[0], atol=ATOL_ATTENTION)
    shared = encoder.encode(contexts[0], classes, position=position)
    repeated = encoder.encode(contexts[:1].expand(3, -1, -1), classes, position=position)
    assert torch.allclose(shared.vectors, repeated.vectors, atol=ATOL_ATTENTION)


def test_without_context_the_name_is_read_alone_wherever_it_stands(encoder):
    classes = torch.tensor([1, 3])
    read = [encoder.encode(draw_context(encoder, 0), classes, position=p) for p in POSITIONS]
    assert read[0].mask.shape[1] == encoder.longest_name
    assert all(torch.equal(r.vectors, read[0].vectors) for r in read)
    per_class = encoder.encode(draw_context(encoder, 2, 0), classes)
    assert torch.equal(per_class.vectors, read[0].vectors)


def test_the_order_of_the_context_tokens_matters(encoder):
    context = draw_context(encoder, 4)
    first = encoder.encode(context, torch.tensor([1])).vectors
    assert not torch.allclose(first, encoder.encode(context.flip(0), torch.tensor([1])).vectors)


@pytest.mark.parametrize("position", POSITIONS)
def test_gradient_reaches_every_context_token_and_nothing_else(encoder, position):
    context = draw_context(encoder, 6).requires_grad_()
    tokens = encoder.encode(context, torch.tensor([0, 2]), position=position)
    tokens.vectors[..., 0].sum().backward()  # all of a normalised row would sum to a constant
    assert (context.grad.abs().sum(1) > 0).all()
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())


def test_gradient_reaches_the_context_through_the_whole_prompt(encoder):
    context = draw_context(encoder, 4).requires_grad_()
    encoder.encode(context, torch.tensor([1])).pooled[0, 0].backward()
    assert (context.grad.abs().sum(1) > 0).all()


def test_an_unfrozen_copy_learns_and_the_original_stays(encoder):
    learner = copy.deepcopy(encoder).requires_grad_(True).train()
    context, classes = draw_context(encoder, 4), torch.tensor([1, 3])
    before = encoder.encode(context, classes)
    assert torch.equal(learner.encode(context, classes).vectors, before.vectors)
    tokens = learner.encode(context, classes)
    (tokens.vectors[..., 0].sum() + tokens.pooled[..., 1].sum()).backward()
    reached = {name for name, p in learner.named_parameters() if p.grad is not None}
    # The name's embeddings are read anew in every step, not kept from the frozen weights.
    assert any("embedding" in name or "table" in name for name in reached)
    assert len(reached) == len(list(learner.parameters()))
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter -= 0.1 * parameter.grad
    assert not torch.allclose(learner.encode(context, classes).vectors, before.vectors)
    assert torch.equal(encoder.encode(context, classes).vectors, before.vectors)
    assert not any(module.training for module in learner.modules())


def test_the_encoder_stays_in_evaluation_mode(encoder):
    assert not encoder.train().training
    assert not any(module.training for module in encoder.modules())


def test_identity_is_known_without_building(encoder, text_tower, monkeypatch):
    monkeypatch.setenv("LICO_BENCH_CLIP", str(text_tower))
    assert encoder.identity == ENCODERS[encoder.identity.name].identify()
    assert len(encoder.identity.sha256) == 64


def test_building_leaves_the_global_generator_alone(encoder, text_tower, monkeypatch):
    monkeypatch.setenv("LICO_BENCH_CLIP", str(text_tower))
    before = torch.get_rng_state()
    ENCODERS[encoder.identity.name].build(NAMES)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_longest_prompt_that_is_promised_is_read(encoder):
    num_context = encoder.max_tokens - encoder.longest_name
    classes = torch.tensor([3])
    tokens = encoder.encode(draw_context(encoder, num_context), classes)
    assert tokens.mask.numel() == encoder.max_tokens
    with pytest.raises(InvalidInputError, match=r"'red-winged blackbird'.*use fewer context"):
        encoder.encode(draw_context(encoder, num_context + 1), classes)


def test_each_context_token_gets_its_nearest_words(encoder):
    rows = encoder.nearest_words(draw_context(encoder, 4).requires_grad_(), count=2)
    assert len(rows) == 4
    if encoder.identity.name == "random":
        assert rows == [[]] * 4
        return
    for (word, cosine), (second, lower) in rows:
        assert word
        assert second
        assert 1 >= cosine >= lower >= -1


@pytest.mark.parametrize(
    ("context", "classes", "position", "sentence"),
    [
        ((4, -1), [0], "end", r"context: expected \(M, \d+\), or one per requested class"),
        ((2, 4, 0), [0], "end", r"context: expected .*\(1, M, \d+\), got \(2, 4, \d+\)"),
        ((1, 1, 4, 0), [0], "end", "context: expected"),
        ((4, 0), [4], "end", r"class_ids: expected classes in \[0, 4\), got \[4, 4\]"),
        ((4, 0), [0, -1], "end", r"class_ids: expected classes in \[0, 4\), got \[-1, 0\]"),
        ((4, 0), [], "end", "class_ids: expected .* at least one class"),
        ((4, 0), [[0]], "end", r"class_ids: expected \(K,\)"),
        ((4, 0), [0.0], "end", "class_ids: expected int64, got torch.float32"),
        ((4, 0), [0], "centre", "position: expected one of end, middle, front, got 'centre'"),
    ],
)
def test_bad_input_is_refused(encoder, context, classes, position, sentence):
    *rows, surplus = context  # width as wrong as the last number says
    tokens = torch.zeros(*rows, encoder.context_width + surplus)
    ids = torch.tensor(classes) if classes else torch.empty(0, dtype=torch.int64)
    with pytest.raises(InvalidInputError, match=sentence):
        encoder.encode(tokens, ids, position=position)


def test_nearest_words_of_bad_input_are_refused(encoder):
    with pytest.raises(InvalidInputError, match="the tokens of one prompt"):
        encoder.nearest_words(draw_context(encoder, 2, 4))
    with pytest.raises(InvalidInputError, match="the tokens of one prompt"):
        encoder.nearest_words(torch.zeros(4, encoder.context_width + 1))
    with pytest.raises(InvalidInputError, match="count: expected"):
        encoder.nearest_words(draw_context(encoder, 4), count=0)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("bird", ""), "class name ''"),
        (("bird", "  "), "class name '  '"),
        (("bird", "b c " * 300), "class name 'b c b c"),
        ((), "class_names: expected at least one"),
    ],
)
@pytest.mark.parametrize("name", list(ENCODERS))
def test_class_names_that_cannot_be_read_are_refused(name, names, sentence, clip_folder):
    with pytest.raises(InvalidInputError, match=sentence):
        ENCODERS[name].build(names)
