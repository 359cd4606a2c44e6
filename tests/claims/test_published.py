from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.claims import published
from lico_bench.claims.published import KEY_COLUMNS, PUBLISHED_COLUMNS, read_published
from lico_bench.data.cards import card_names
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.metrics import METRICS
from lico_bench.metrics.protocols import PROTOCOLS
from lico_bench.models import BACKBONES
from lico_bench.runtime import shipped
from lico_bench.saliency import SALIENCY
from lico_bench.stats import MODEL_SCORES
from lico_bench.training import ARMS

FOLDER = shipped("baselines") / "published"
ROUNDING = 1.5  # units of the last printed digit: three numbers, each off by up to half of one
ATOL_EXACT = 1e-12  # decimals of four digits in binary

GOOD = {
    "source": "Somebody 2025", "table": "accuracy", "locator": "Table 1", "dataset": "cifar10",
    "backbone": "wrn_28_2", "labels": "full", "arm": "lico", "reading": "", "method": "",
    "metric": "accuracy", "setting": "", "pictures": "", "protocol": "", "value": "0.945",
    "confidence": "read", "note": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def frame():
    return read_published()


def write(folder, *rows, name="somebody.csv"):
    lines = [",".join(PUBLISHED_COLUMNS)]
    lines += [",".join({**GOOD, **row}[column] for column in PUBLISHED_COLUMNS) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def areas(frame):
    """Insertion, deletion and overall of each printed row, with the columns that identify a row."""
    place = ["file", "dataset", "method", "arm", "pictures"]
    rows = frame[(frame["table"] == "insertion_deletion") & frame["value"].notna()]
    for key, part in rows.groupby(place, sort=False):
        yield key, part.set_index("metric")


def test_each_source_has_its_file(frame):
    assert set(frame["file"]) == {
        "authors_figure_2023", "authors_response_2024", "bartak_2024", "fletcher_2024",
        "paper_2023",
    }  # fmt: skip


def test_a_value_is_open_exactly_where_nobody_confirmed_it(frame):
    is_open = frame["confidence"] == "unconfirmed"
    assert (frame["value"].isna() == is_open).all()
    assert (frame["file"][is_open] == "paper_2023").all()
    assert is_open.sum() == (frame["file"] == "paper_2023").sum()


@pytest.mark.parametrize(
    ("file", "dataset", "arm", "method", "metric", "value", "decimals"),
    [  # read once more in the research notes, not copied from the files
        ("authors_response_2024", "cifar10", "baseline", "", "accuracy", 0.9379, 4),
        ("authors_response_2024", "cifar100", "lico", "", "accuracy", 0.7494, 4),
        ("authors_response_2024", "cifar10", "lico", "grad_cam", "insertion", 0.6541, 4),
        ("authors_response_2024", "imagenette", "lico", "rise", "overall", 0.3527, 4),
        ("authors_response_2024", "imagenette", "baseline", "grad_cam", "deletion", 0.3229, 4),
        ("fletcher_2024", "cifar100", "baseline", "", "accuracy", 0.781, 3),
        ("fletcher_2024", "cifar10", "lico", "grad_cam_plus_plus", "overall", 0.017, 3),
        ("fletcher_2024", "imagenette", "baseline", "grad_cam", "insertion", 0.771, 3),
    ],
)
def test_numbers_are_those_of_the_source(
    frame, file, dataset, arm, method, metric, value, decimals
):
    found = frame[
        (frame["file"] == file) & (frame["dataset"] == dataset) & (frame["arm"] == arm)
        & (frame["method"] == method) & (frame["metric"] == metric)
    ]  # fmt: skip
    assert found[["value", "decimals"]].to_numpy().tolist() == [[value, decimals]]


def test_lico_is_worse_in_three_of_the_24_pairs_of_the_figure(frame):
    figure = frame[(frame["file"] == "authors_figure_2023") & (frame["metric"] != "overall")]
    worse = []
    for key, part in figure.groupby(["pictures", "method", "metric"]):
        value = part.set_index("arm")["value"]
        gain = (value["lico"] - value["baseline"]) * (1 if key[2] == "insertion" else -1)
        worse += [key] if gain < 0 else []
    assert worse == [
        ("picture 1 of 3", "grad_cam", "deletion"),
        ("picture 1 of 3", "grad_cam", "insertion"),
        ("picture 1 of 3", "score_cam", "insertion"),
    ]


def test_slips_of_arithmetic_are_the_noted_ones(frame):
    noted = 0
    for key, rows in areas(frame):
        overall = rows.loc["overall"]
        true = rows.loc["insertion", "value"] - rows.loc["deletion", "value"]
        slip = abs(overall["value"] - true) * 10 ** overall["decimals"]
        if slip <= ROUNDING:
            assert "as printed" not in overall["note"], key
            continue
        noted += 1
        assert f"is {true:.{overall['decimals']}f}" in overall["note"], key
    assert noted == 5


def test_a_slip_that_turns_the_comparison_round_is_known(frame):
    found = {key[3]: rows for key, rows in areas(frame) if key[:3] == (
        "authors_response_2024", "imagenette", "grad_cam"
    )}  # fmt: skip
    true = {
        arm: r.loc["insertion", "value"] - r.loc["deletion", "value"] for arm, r in found.items()
    }
    assert found["lico"].loc["overall", "value"] > found["baseline"].loc["overall", "value"]
    assert true["lico"] < true["baseline"]


def test_recomputed_numbers_follow_from_the_others(frame):
    recomputed = 0
    for key, rows in areas(frame):
        if rows.loc["overall", "confidence"] == "recomputed":
            recomputed += 1
            true = rows.loc["insertion", "value"] - rows.loc["deletion", "value"]
            assert rows.loc["overall", "value"] == pytest.approx(true, abs=ATOL_EXACT), key
    assert recomputed == 24


def test_published_names_are_those_of_the_registries(frame):
    assert set(published.ARMS) - {""} == set(ARMS)
    methods = {name for name in SALIENCY if not SALIENCY[name].is_control}
    assert set(published.METHODS) - {""} == methods
    assert set(published.PROTOCOLS) - {""} <= set(PROTOCOLS)
    specs = {**MODEL_SCORES, **{name: METRICS[name].spec for name in METRICS}}
    assert {name: specs[name].bounds for name in published.BOUNDS} == published.BOUNDS
    assert set(frame["backbone"]) - {""} <= set(BACKBONES)
    assert {"imagenet", "cifar10", "cub200", "flowers"} <= set(frame["dataset"]) & set(card_names())


def test_no_row_is_there_twice(frame):
    keys = Counter(frame[[*KEY_COLUMNS]].itertuples(index=False, name=None))
    assert max(keys.values()) == 1


def test_a_number_of_the_paper_can_be_filled_in(tmp_path):
    path = tmp_path / "paper_2023.csv"
    text = (FOLDER / path.name).read_text()
    first = "Paper 2023,accuracy,accuracy on ImageNet-1k,imagenet,resnet50,full,baseline"
    (line,) = [line for line in text.splitlines() if line.startswith(first)]
    filled = ",".join(line.split(",")[:13]) + ",0.7627,read,"
    path.write_text(text.replace(line, filled))
    frame = read_published(tmp_path)
    assert frame["value"].dropna().tolist() == [0.7627]
    assert frame["confidence"].value_counts()["read"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "table 3"}, "table: expected one of insertion_deletion"),
        ({"arm": "LICO"}, "arm: expected one of baseline"),
        ({"method": "gradcam"}, "method: expected one of"),
        ({"metric": "top5"}, "metric: expected one of accuracy"),
        ({"protocol": "rise"}, "protocol: expected one of"),
        ({"confidence": "sure"}, "confidence: expected one of read"),
        ({"source": " "}, "source: expected where the number is printed"),
        ({"locator": ""}, "locator: expected where the number is printed"),
        ({"dataset": "CIFAR 10"}, "dataset: expected a name"),
        ({"backbone": "WRN-28-2"}, "backbone: expected a name"),
        ({"labels": "0"}, "labels: expected full or a whole number"),
        ({"labels": "all"}, "labels: expected full or a whole number"),
        ({"value": "94.5"}, "(a fraction, not percent), got '94.5'"),
        ({"value": "94.5 %"}, "(a fraction, not percent)"),
        ({"value": "nan"}, "expected a number in"),
        ({"value": "1e-1"}, "expected a number in"),
        ({"value": ""}, "got no value"),
        ({"confidence": "unconfirmed"}, "got a value that is 'unconfirmed'"),
        ({"note": "one, too many"}, "expected 16 cells, got another number"),
    ],
)
def test_a_wrong_cell_is_one_sentence_with_file_and_line(tmp_path, change, message):
    write(tmp_path, {"arm": "baseline"}, change)
    with pytest.raises(BrokenFileError) as caught:
        read_published(tmp_path)
    assert f"{tmp_path / 'somebody.csv'}, line 3: " in str(caught.value)
    assert message in str(caught.value)


def test_the_same_number_twice_names_both_lines(tmp_path):
    write(tmp_path, {}, {"arm": "baseline"}, {"value": "0.9"})
    with pytest.raises(BrokenFileError, match=r"line 4: same entry as in line 2"):
        read_published(tmp_path)


def test_short_line_and_missing_column_are_reported(tmp_path):
    write(tmp_path, {})
    path = tmp_path / "somebody.csv"
    path.write_text(path.read_text() + "Somebody 2025,accuracy\n")
    with pytest.raises(BrokenFileError, match=r"line 3: expected 16 cells"):
        read_published(tmp_path)
    path.write_text("source,value\nSomebody,1\n")
    with pytest.raises(BrokenFileError, match="columns missing: table"):
        read_published(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BrokenFileError, match="not readable as UTF-8"):
        read_published(tmp_path)


def test_folder_without_numbers_is_reported(tmp_path):
    with pytest.raises(MissingDataError, match="no published numbers in"):
        read_published(tmp_path / "nowhere")


def test_a_file_of_a_spreadsheet_is_read(tmp_path):
    write(tmp_path, {"note": '"seeds, none told"'})
    path = tmp_path / "somebody.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_published(tmp_path)["note"].tolist() == ["seeds, none told"]


@settings(deadline=None)  # a busy machine is no fault
@given(number=st.integers(0, 10**6), decimals=st.integers(0, 6))
def test_digits_are_kept_as_printed(tmp_path_factory, number, decimals):
    text = f"{(number % (10**decimals + 1)) / 10**decimals:.{decimals}f}"
    folder = write(tmp_path_factory.getbasetemp(), {"value": text})
    row = read_published(folder).iloc[0]
    assert f"{row['value']:.{row['decimals']}f}" == text
    assert row["decimals"] == decimals
