"""Scores in parts: resuming without recomputation, and one network that scores both arms."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import lico_bench
from lico_bench.errors import InvalidInputError, OutOfMemoryError
from lico_bench.evaluation import EvalConfig, Subject, evaluate, score_in_parts, scoring
from lico_bench.metrics import perturbation_curves
from lico_bench.models import MicroBatchRunner, build_classifier
from lico_bench.models.classifier import compute_in_batches
from lico_bench.records import ROW_COLUMNS
from lico_bench.store import SCORE_TABLES, CellFolder, read_parquet

ATOL_KERNELS = 1e-5  # another micro-batch may take another kernel


@pytest.fixture(scope="module")
def dataset():
    return lico_bench.load_dataset("cifar10", "test", source="standin", limit=20)


def build(dataset, seed: int):
    return build_classifier(
        "wrn_10_1", num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std, seed=seed
    ).eval()


def eval_config(**changes):
    requested = {
        "methods": ("grad_cam",), "metrics": ("deletion", "pointing_game"),
        "protocol": "lico_bench_1", "limit": 10,
    }  # fmt: skip
    return EvalConfig.of(**(requested | changes))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_SMALL", 4)


def subject_of(model):
    return Subject(model, "pair", "cell", "wrn_10_1", "baseline", 0, "full")


def write(folder: CellFolder, part):
    folder.write_part(part.name, {name: getattr(part.scores, name) for name in SCORE_TABLES})


def test_a_second_run_goes_on_after_the_last_stored_part(dataset, small_parts, tmp_path):
    subject = subject_of(build(dataset, 0))
    whole, torn = CellFolder(tmp_path / "whole"), CellFolder(tmp_path / "torn")
    for part in score_in_parts(subject, dataset, eval_config(), stored=whole.part_rows):
        write(whole, part)
    for number, part in enumerate(
        score_in_parts(subject, dataset, eval_config(), stored=torn.part_rows)
    ):
        write(torn, part)
        if number == 5:  # in the middle of the scoring: five parts classify
            break
    names = [
        part.name
        for part in score_in_parts(subject, dataset, eval_config(), stored=torn.part_rows)
        if write(torn, part) is None
    ]
    assert names == ["scored-00000004-00000008", "scored-00000008-00000010"]
    assert whole.merge_parts() == torn.merge_parts() == 3 * 20 + 10 * 4 + 3 * 10
    for table in SCORE_TABLES:
        first, second = (read_parquet(folder.table(table)) for folder in (whole, torn))
        pd.testing.assert_frame_equal(first, second)
    assert tuple(read_parquet(whole.table("rows")).columns) == ROW_COLUMNS


def test_parts_hold_what_one_evaluation_gives(dataset, small_parts):
    model = build(dataset, 0)
    parts = list(score_in_parts(subject_of(model), dataset, eval_config()))
    rows = pd.concat([part.scores.rows for part in parts])
    plain = evaluate(
        {"baseline": model}, dataset, metrics=("deletion", "pointing_game"), limit=10
    ).rows
    keys = ["image_id", "method", "metric"]
    merged = rows.merge(plain, on=keys, suffixes=("", "_plain"))
    assert len(merged) == len(rows) == len(plain)
    assert (merged.value - merged.value_plain).abs().max() < ATOL_KERNELS


def test_one_network_scores_both_arms_and_their_curves_meet_at_both_ends(dataset):
    models = {"baseline": build(dataset, 0), "lico": build(dataset, 1)}
    scores = evaluate(
        models, dataset, metrics=("insertion", "deletion"), protocol="authors_figure_2023", limit=2
    )
    for _, part in scores.curves.groupby(["image_id", "curve"]):
        assert len(part) == 2
        first, second = part["values"]
        assert first[0] == pytest.approx(second[0], abs=1e-6)
        assert first[-1] == pytest.approx(second[-1], abs=1e-6)
    own = evaluate(models, dataset, metrics=("insertion", "deletion"), limit=2).curves
    starts = own[own.curve == "deletion"].groupby("image_id")["values"].agg(lambda v: [*v])
    assert any(abs(first[0] - second[0]) > 1e-3 for first, second in starts)


def test_a_scoring_network_in_training_mode_scores_as_in_evaluation_mode(dataset):
    scorer = build(dataset, 1)
    requested = {"dataset": dataset, "metrics": ("insertion", "deletion"), "limit": 3}
    calm = evaluate({"mine": build(dataset, 0)}, scorer=scorer, **requested).rows
    before = {name: value.clone() for name, value in scorer.train().state_dict().items()}
    busy = evaluate({"mine": build(dataset, 0)}, scorer=scorer, **requested).rows
    assert calm.equals(busy)
    assert scorer.training
    assert all(torch.equal(value, before[name]) for name, value in scorer.state_dict().items())


def test_the_scoring_network_is_part_of_the_protocol(dataset):
    models = {"baseline": build(dataset, 0), "lico": build(dataset, 1)}
    rows = evaluate(models, dataset, metrics=("deletion",), limit=2, protocol="rise_2018").rows
    assert rows.protocol.str.startswith("rise_2018@").any()
    figure = evaluate(models, dataset, metrics=("deletion",), limit=2, protocol="bartak_2024").rows
    assert set(rows.protocol) & set(figure.protocol) == {"", *map_facts(rows)}


def map_facts(rows):
    return set(rows[rows.metric.isin(["flat_map", "tied_ranks"])].protocol)


def test_a_model_without_the_scoring_arm_scores_itself_only_where_the_rules_allow(dataset):
    with pytest.raises(InvalidInputError, match="scores all maps"):
        evaluate(
            {"mine": build(dataset, 0)}, dataset, metrics=("deletion",), limit=2,
            protocol="authors_figure_2023",
        )  # fmt: skip


class ShortOfMemory(torch.nn.Module):
    """Raises an out-of-memory error for more than `most` images, like an accelerator."""

    def __init__(self, model, most: int) -> None:
        super().__init__()
        self.model, self.most, self.sizes = model, most, []

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(images)


def test_out_of_memory_halves_the_micro_batch_and_gives_the_same_numbers(dataset):
    model = build(dataset, 0)
    images = dataset.images[:3]
    targets, maps = dataset.labels[:3], torch.rand(3, 32, 32)
    plain = perturbation_curves(model, images, targets, maps, micro_batch=32)
    short = ShortOfMemory(model, most=10)
    scored = perturbation_curves(short, images, targets, maps, micro_batch=32)
    assert torch.allclose(plain.deletion, scored.deletion, atol=ATOL_KERNELS)
    assert torch.allclose(plain.insertion, scored.insertion, atol=ATOL_KERNELS)
    assert short.sizes[:3] == [32, 16, 8]
    assert set(short.sizes[3:]) == {8}
    assert scored.forwards == plain.forwards


def test_explaining_halves_its_batch_too(dataset):
    model = build(dataset, 0)
    images, targets = dataset.images[:5], dataset.labels[:5]
    plain = lico_bench.explain(model, images, targets, method="grad_cam")
    short = ShortOfMemory(model, most=2)
    maps = lico_bench.explain(short, images, targets, method="grad_cam", layer="model.features")
    assert torch.allclose(plain, maps, atol=ATOL_KERNELS)
    assert short.sizes == [5, 2, 2, 1]


def test_a_single_image_that_does_not_fit_is_an_error_with_the_remedy():
    short = ShortOfMemory(torch.nn.Identity(), most=0)
    with pytest.raises(OutOfMemoryError, match="use a smaller image_size"):
        MicroBatchRunner(short, size=4).run(
            3, lambda jobs: torch.zeros(len(jobs), 2), lambda logits, _: logits,
            device=torch.device("cpu"),
        )  # fmt: skip


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(_part):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        compute_in_batches(broken, 4)
