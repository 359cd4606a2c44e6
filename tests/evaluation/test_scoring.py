"""Rows, curves and gallery of real small models on drawn scenes."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lico_bench.evaluation import evaluate, evenly_spaced
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS

MEASURED = ("insertion", "deletion", "overall", "pointing_game")


@pytest.fixture(scope="module")
def scores(models, dataset):
    return evaluate(models, dataset, methods=["grad_cam", "random_map"], metrics=MEASURED, limit=8)


def test_rows_have_the_stable_columns_and_counts(scores):
    rows = scores.to_frame()
    assert tuple(rows.columns) == ROW_COLUMNS
    # Arms; classification scores of all images; methods, metrics and map facts; curve endpoints.
    assert len(rows) == 2 * (3 * 20 + 2 * (4 + 2) * 8 + 3 * 8)
    assert not rows.duplicated(["cell", "image_id", "method", "metric"]).any()


def test_both_arms_are_scored_on_the_same_images_and_classes(scores):
    explained = scores.rows[scores.rows.method == "grad_cam"]
    keys = [
        set(map(tuple, part[["image_id", "target", "metric", "pair"]].to_numpy()))
        for _, part in explained.groupby("arm")
    ]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 8 * (4 + 2)


def test_accuracy_is_that_of_the_model(scores, models, dataset):
    with torch.no_grad():
        predicted = models["lico"](dataset.images).logits.argmax(1)
    expected = (predicted == dataset.labels).float().mean()
    rows = scores.rows[(scores.rows.arm == "lico") & (scores.rows.metric == "accuracy")]
    assert rows.value.mean() == pytest.approx(float(expected))
    assert (rows.value == rows.correct).all()


def test_areas_are_those_of_the_stored_curves(scores):
    assert tuple(scores.curves.columns) == CURVE_COLUMNS
    assert len(scores.curves) == 2 * 2 * 8 * 2
    rows = scores.rows.set_index(["cell", "image_id", "method", "metric"]).value
    for curve in scores.curves.itertuples():
        area = np.trapezoid(curve.values, curve.fractions)
        assert rows[curve.cell, curve.image_id, curve.method, curve.curve] == pytest.approx(
            area, abs=1e-5
        )


def test_curves_are_stored_in_one_order_whatever_that_of_the_metrics(models, dataset):
    metrics = ("sanity_check(stages=1)", "deletion_lerf", "insertion")
    curves = evaluate(models, dataset, metrics=metrics, limit=1).curves
    assert list(curves.curve.unique()) == [
        "insertion", "deletion", "insertion_lerf", "deletion_lerf", "cascade",
    ]  # fmt: skip


def test_overall_is_insertion_minus_deletion(scores):
    rows = scores.rows[scores.rows.method == "grad_cam"]
    table = rows.pivot_table(index=["cell", "image_id"], columns="metric", values="value")
    np.testing.assert_allclose(table.overall, table.insertion - table.deletion, atol=1e-6)


def test_the_random_control_gets_the_same_maps_in_both_arms(scores):
    maps = scores.gallery[scores.gallery.method == "random_map"]
    baseline, lico = (part.sort_values("image_id") for _, part in maps.groupby("arm"))
    assert all(np.array_equal(a, b) for a, b in zip(baseline["map"], lico["map"], strict=True))


def test_gallery_images_are_those_of_the_dataset(scores, dataset):
    entry = scores.gallery.iloc[0]
    picture = np.asarray(Image.open(io.BytesIO(entry.image_png)))
    image = dataset.images[dataset.image_ids.index(entry.image_id)]
    np.testing.assert_array_equal(picture, (image * 255).round().byte().permute(1, 2, 0).numpy())
    assert len(entry["map"]) == entry.height * entry.width


def test_protocol_id_travels_with_every_explained_row(scores):
    rows = scores.rows
    of_model = rows[rows.method == ""]
    is_end = of_model.metric.str.startswith("score_")
    assert (of_model[~is_end].protocol == "").all()
    assert of_model[is_end].protocol.str.startswith("lico_bench_1@").all()
    curves = rows[rows.metric.isin(["insertion", "deletion", "overall"])]
    assert curves.protocol.str.fullmatch(r"lico_bench_1@[0-9a-f]{8}").all()
    pointing = rows[rows.metric == "pointing_game"]
    assert pointing.protocol.str.fullmatch(r"pointing_game_2@[0-9a-f]{8}").all()


def test_rows_do_not_depend_on_the_model_being_left_in_training_mode(models, dataset):
    small = dataset.subset(range(4))
    calm = evaluate({"a": models["lico"]}, small).to_frame()
    models["lico"].train()
    busy = evaluate({"a": models["lico"]}, small).to_frame()
    assert models["lico"].training
    models["lico"].eval()
    assert calm.equals(busy)


def test_flat_maps_are_flagged(models, dataset):
    dead = replace_head_by_zeros(models["baseline"])
    rows = evaluate({"a": dead}, dataset.subset(range(4)), metrics=["insertion"]).to_frame()
    assert (rows[rows.method == "grad_cam"].flag == "degenerate_map").all()


def replace_head_by_zeros(model):
    dead = copy.deepcopy(model)
    torch.nn.init.zeros_(dead.head.weight)
    return dead


def test_a_region_cropped_away_is_skipped_in_both_arms(models, dataset):
    regions = dataset.regions.clone()
    regions[0] = False
    result = evaluate(
        models, replace(dataset, region_source=regions), metrics=["pointing_game"], limit=4
    )
    first = result.rows[
        (result.rows.metric == "pointing_game") & (result.rows.image_id == dataset.image_ids[0])
    ]
    assert len(first) == 2
    assert first.value.isna().all()
    assert (first.flag == "skipped_region").all()


def test_images_to_explain_are_spread_over_the_dataset():
    assert evenly_spaced(100, 4).tolist() == [0, 25, 50, 75]
    assert evenly_spaced(3, 10).tolist() == [0, 1, 2]
    assert evenly_spaced(5, None).tolist() == [0, 1, 2, 3, 4]


def test_progress_ends_at_its_total(models, dataset):
    seen = []
    evaluate(models, dataset, limit=3, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
