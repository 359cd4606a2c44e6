"""Rows of length 1, and the row that has no direction."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lico_bench.losses.transport import as_single_precision, unit_rows


def test_rows_are_those_of_torch_bit_for_bit():
    rows = torch.randn(5, 4, 7, generator=torch.Generator().manual_seed(0))
    rows[1, 2] = 0
    rows[3, 1] = 1e-20
    assert torch.equal(unit_rows(rows), F.normalize(rows, dim=2))


def test_a_row_of_zeros_has_no_gradient():
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    rows[1] = 0
    rows.requires_grad_()
    (unit_rows(rows) * torch.arange(12.0).view(3, 4)).sum().backward()
    assert (rows.grad[1] == 0).all()
    assert (rows.grad[[0, 2]] != 0).all()
    assert rows.grad.abs().max() < 100


def test_nan_and_infinity_stay_visible():
    rows = unit_rows(torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0]]))
    assert rows.isnan().any(1).all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_raised_and_double_stays(given, expected):
    assert as_single_precision(torch.ones(2, 2, dtype=given)).dtype == expected
