"""The layout of prompts against a slow loop over lists."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
