"""Precision `auto`: resolved once per run, stored with the run, reported where it is slow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lico_bench.store
from lico_bench import Recipe, train
from lico_bench.bench import make_plan
from lico_bench.bench.runner import resolve_run_precision
from lico_bench.errors import InvalidInputError
from lico_bench.runtime import NativePrecision, native_precision
from lico_bench.store import RunFolder

AUTO = {"precision": "auto"}
NO_BFLOAT16 = NativePrecision("float32", "this processor has no bfloat16 arithmetic")
HAS_BFLOAT16 = NativePrecision("bfloat16", "this processor has bfloat16 arithmetic")


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one with or without bfloat16 arithmetic."""

    def become(precision):
        for module in ("runtime", "bench.plan", "bench.runner", "training.loop"):
            monkeypatch.setattr(f"lico_bench.{module}.native_precision", lambda _: precision)

    return become


def auto_suite(suite):
    return replace(suite, changes={**suite.changes, **AUTO})


def test_auto_is_float32_on_a_processor_that_is_told_to_use_avx2(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    found = native_precision(torch.device("cpu"))
    assert found.name == "float32"
    assert "AVX2" in found.reason


def test_auto_is_float32_where_avx512_has_no_bfloat16_instructions(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert native_precision(torch.device("cpu")).name == "float32"


@pytest.mark.parametrize("precision", [NO_BFLOAT16, HAS_BFLOAT16])
def test_cells_carry_the_resolved_precision_and_arms_of_a_pair_share_it(suite, machine, precision):
    machine(precision)
    plan = make_plan(auto_suite(suite))
    assert {cell.recipe.precision for cell in plan.cells} == {precision.name}
    assert len({cell.recipe.pair_key for cell in plan.cells}) == len(plan.cells) // 2
    recorded = [cell.recipe.precision for cell in plan.manifest().cells]
    assert set(recorded) == {precision.name}


def test_another_precision_is_another_cell_in_a_folder_of_the_same_name(suite, machine):
    machine(NO_BFLOAT16)
    plain = make_plan(auto_suite(suite))
    machine(HAS_BFLOAT16)
    short = make_plan(auto_suite(suite))
    assert plain.name == short.name
    assert plain.key != short.key
    assert {c.key for c in plain.cells}.isdisjoint(c.key for c in short.cells)


def test_naming_what_auto_stands_for_gives_the_same_cells(suite, machine):
    machine(NO_BFLOAT16)
    named = make_plan(replace(suite, changes={**suite.changes, "precision": "float32"}))
    assert [c.key for c in named.cells] == [c.key for c in make_plan(auto_suite(suite)).cells]


@pytest.mark.parametrize("loses_manifest", [False, True])
def test_a_run_goes_on_in_the_precision_that_it_began_in(suite, machine, tmp_path, loses_manifest):
    machine(HAS_BFLOAT16)
    begun = make_plan(auto_suite(suite))
    run = RunFolder(tmp_path / "run")
    run.open_for(begun.manifest())
    if loses_manifest:
        for cell in begun.cells:
            run.cell(cell.key).path.mkdir(parents=True)
            lico_bench.store.write_json(run.cell(cell.key).recipe, cell.entry())
        run.manifest_path.write_text("torn")
    machine(NO_BFLOAT16)
    plan, notes = resolve_run_precision(make_plan(auto_suite(suite)), run.path, "cpu")
    assert [c.key for c in plan.cells] == [c.key for c in begun.cells]
    assert plan.key == begun.key
    assert "began in bfloat16" in notes[0]
    assert "slow here" in notes[1]


def test_a_precision_that_the_device_cannot_compute_is_refused(
    suite, machine, tmp_path, monkeypatch
):
    machine(HAS_BFLOAT16)
    RunFolder(tmp_path).open_for(make_plan(auto_suite(suite)).manifest())
    machine(NO_BFLOAT16)
    monkeypatch.setattr("lico_bench.bench.runner.has_bfloat16", lambda _: False)
    with pytest.raises(InvalidInputError, match="cannot compute; continue with --device cpu"):
        resolve_run_precision(make_plan(auto_suite(suite)), tmp_path, "cpu")


def test_bfloat16_by_hand_is_obeyed_with_a_warning_where_it_is_emulated(suite, machine, tmp_path):
    machine(NO_BFLOAT16)
    named = make_plan(replace(suite, changes={**suite.changes, "precision": "bfloat16"}))
    plan, notes = resolve_run_precision(named, tmp_path / "new", "cpu")
    assert {cell.recipe.precision for cell in plan.cells} == {"bfloat16"}
    assert len(notes) == 1
    assert "ten times slower than float32" in notes[0]
    machine(HAS_BFLOAT16)
    assert resolve_run_precision(named, tmp_path / "new", "cpu")[1] == ()


def test_a_training_outside_a_run_resolves_auto_too():
    recipe = Recipe(
        "cifar10", "wrn_10_1", "baseline", source="standin", precision="auto", train_limit=64,
        epochs=1, batch_size=32,
    )  # fmt: skip
    trained = train(recipe, device="cpu")
    assert trained.recipe.precision == native_precision(torch.device("cpu")).name


def test_an_unknown_precision_is_told_with_the_known_ones():
    with pytest.raises(InvalidInputError, match="one of auto, float32, bfloat16, got"):
        Recipe("cifar10", "wrn_10_1", "baseline", precision="fp8")
