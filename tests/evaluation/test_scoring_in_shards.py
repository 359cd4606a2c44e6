"""Ranges of images distributed over processes: the rows are bit-identical."""

from __future__ import annotations

import pandas as pd
import pytest

import lico_bench
from lico_bench.bench.cell import EvalJob, join_parts, store_parts
from lico_bench.errors import InvalidInputError, MissingDataError
from lico_bench.evaluation import EvalConfig, Shard, Subject, ranges_of, scoring
from lico_bench.models import build_classifier
from lico_bench.store import SCORE_TABLES, CellFolder, read_parquet


@pytest.fixture(scope="module")
def dataset():
    return lico_bench.load_dataset("cifar10", "test", source="standin", limit=22)


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_SMALL", 4)


@pytest.fixture(scope="module")
def subject(dataset):
    model = build_classifier(
        "wrn_10_1", num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std, seed=0
    ).eval()
    return Subject(model, "pair", "cell", "wrn_10_1", "baseline", 0, "full")


# bartak_2024 explains the predicted class, and random_map draws for each image.
EVAL_CONFIG = EvalConfig.of(("grad_cam", "random_map"), ("deletion",), "bartak_2024", 11)


def tables(folder: CellFolder):
    return {name: read_parquet(folder.table(name)) for name in SCORE_TABLES}


@pytest.fixture(scope="module")
def whole(dataset, subject, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "BATCH_SMALL", 4)
        folder = CellFolder(tmp_path_factory.mktemp("whole"))
        score(folder, subject, dataset, 0, 1)
        message = join_parts(folder, dataset, EVAL_CONFIG)
        return tables(folder), message


def score(folder, subject, dataset, index: int, count: int):
    seen = []
    store_parts(
        folder, EvalJob(subject, dataset, scorer=None), EVAL_CONFIG,
        progress=lambda *share: seen.append(share), shard=Shard(index, count),
    )  # fmt: skip
    return seen


# The last shard runs first and needs images that are not classified yet.
@pytest.mark.parametrize("order", [[(0, 2), (1, 2)], [(2, 3), (0, 3), (1, 3)], [(1, 2), (2, 3),
                                   (0, 3), (1, 3)]])  # fmt: skip
def test_shards_give_the_same_tables_to_the_bit(order, dataset, subject, whole, tmp_path):
    folder = CellFolder(tmp_path / "cell")
    for index, count in order:
        seen = score(folder, subject, dataset, index, count)
        assert not seen or seen[-1][0] == seen[-1][1]
    message = join_parts(folder, dataset, EVAL_CONFIG)
    expected, expected_told = whole
    assert message == expected_told
    for name, table in tables(folder).items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True)


def test_each_range_is_of_one_shard(dataset):
    ranges = ranges_of(dataset, EVAL_CONFIG)
    for count in (1, 2, 3, 7):
        dealt = [r for index in range(count) for r in Shard(index, count).of(ranges.classified)]
        assert [r.tolist() for r in dealt] == [r.tolist() for r in ranges.classified]
    assert ranges.names() == sorted(ranges.names())


def test_a_missing_part_is_named_and_nothing_is_joined(dataset, subject, tmp_path):
    folder = CellFolder(tmp_path / "cell")
    score(folder, subject, dataset, 0, 2)
    with pytest.raises(MissingDataError, match="classified-00000012-00000016 is the first"):
        join_parts(folder, dataset, EVAL_CONFIG)
    assert not folder.table("rows").exists()


def test_a_shard_is_a_number_below_their_count():
    with pytest.raises(InvalidInputError, match=r"expected a number in \[0, 2\), got 2"):
        Shard(2, 2)
