"""A folder of user images: labels, class names, sizes and invalid folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import lico_bench
from lico_bench.data.find_files import find_images, read_class_names
from lico_bench.data.folder import load_folder, natural_size
from lico_bench.errors import BrokenFileError, InvalidInputError, LicoBenchError, MissingDataError


def draw(path: Path, *, size: tuple[int, int] = (20, 20), grey: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


@pytest.fixture
def photos() -> Path:
    for number, name in enumerate(("cat", "ant", "bee")):
        for index in range(2):
            draw(Path("photos") / name / f"{index}.png", grey=40 * (number + 1))
    return Path("photos")


def test_classes_are_numbered_by_the_sorted_names_of_their_folders(photos: Path):
    images = load_folder(photos)
    data = images.dataset
    assert images.is_labelled
    assert data.class_names == ("ant", "bee", "cat")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.image_ids[0] == "ant/0.png"
    # cat was drawn first with grey 40, ant second with 80
    assert torch.equal(data.read([0, 4])[:, 0, 0, 0], torch.tensor([80 / 255, 40 / 255]))
    assert (data.source, data.split, data.title) == ("real", "test", "photos")


def test_a_list_of_names_gives_the_numbers(photos: Path):
    Path("names.txt").write_text("bee\n\nwasp\nCat\nant\n", encoding="utf-8")
    images = load_folder(photos, classes=read_class_names(Path("names.txt"))).for_classes(4)
    assert images.dataset.labels.tolist() == [3, 3, 0, 0, 2, 2]
    assert images.dataset.class_names == ("bee", "wasp", "Cat", "ant")


def test_a_flat_folder_has_no_labels_until_a_model_gives_them():
    draw(Path("flat/b.png"))
    draw(Path("flat/a.jpg"))
    draw(Path("flat/.hidden.png"))
    Path("flat/notes.txt").touch()
    images = load_folder(Path("flat")).for_classes(5)
    assert not images.is_labelled
    assert images.dataset.image_ids == ("a.jpg", "b.png")
    assert images.dataset.class_names == tuple(f"class {number}" for number in range(5))
    predicted = images.with_targets(torch.tensor([4, 1]), "'model' predicts").dataset
    assert predicted.labels.tolist() == [4, 1]
    assert "accuracy is not known" in predicted.notes[-1]
    assert predicted.fingerprint != images.dataset.fingerprint


def test_the_fingerprint_follows_files_labels_and_size(photos: Path):
    first = load_folder(photos).dataset.fingerprint
    assert load_folder(photos).dataset.fingerprint == first
    assert load_folder(photos, image_size=16).dataset.fingerprint != first
    draw(photos / "bee" / "2.png")
    assert load_folder(photos).dataset.fingerprint != first


def test_the_size_is_that_of_small_squares_and_224_otherwise():
    small = [draw(Path(f"s/{n}.png"), size=(32, 32)) for n in range(2)]
    assert natural_size(small) == 32
    assert load_folder(Path("s")).dataset.image_size == (32, 32)
    assert natural_size([*small, draw(Path("s/3.png"), size=(33, 33))]) == 224
    assert natural_size([draw(Path("s/4.png"), size=(40, 30))]) == 224
    assert natural_size([draw(Path("s/5.png"), size=(300, 300))]) == 224


def test_an_unreadable_image_is_named_or_left_out_and_noted(photos: Path):
    (photos / "bee" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(BrokenFileError, match=r"broken\.jpg: cannot be decoded"):
        _ = load_folder(photos).dataset.images
    data = load_folder(photos, skip_broken=True).dataset
    assert (len(data), data.official_count) == (6, 7)
    assert "broken.jpg" in data.notes[0]


def test_an_unreadable_image_does_not_change_the_size_of_the_others(photos: Path):
    (photos / "ant" / "0.png").write_bytes(b"not an image")
    assert load_folder(photos, skip_broken=True).dataset.image_size == (20, 20)


def test_the_first_frame_of_an_animated_gif_is_an_image(photos: Path):
    frames = [Image.new("RGB", (20, 20), (level,) * 3) for level in (250, 10)]
    frames[0].save(photos / "ant" / "moving.gif", save_all=True, append_images=frames[1:])
    found = load_folder(photos).dataset
    number = found.image_ids.index("ant/moving.gif")
    assert found.read(torch.tensor([number])).mean() > 0.9


def test_images_beside_the_class_folders_are_left_out_and_noted(photos: Path):
    draw(photos / "loose.png")
    data = load_folder(photos).dataset
    assert len(data) == 6
    assert "1 images beside the class folders are left out" in data.notes[0]


def test_numbered_folders_past_nine_say_in_which_order_they_are_taken():
    for number in range(11):
        draw(Path("digits") / str(number) / "a.png")
    data = load_folder(Path("digits")).dataset
    assert data.class_names[:3] == ("0", "1", "10")
    assert "10 before 2" in data.notes[0]


@pytest.mark.parametrize(
    ("num_classes", "message"),
    [(2, "3 class folders, but the model has 2 classes"), (10, "--classes FILE")],
)
def test_another_number_of_classes_than_the_models_is_refused(
    photos: Path, num_classes: int, message: str
):
    with pytest.raises(InvalidInputError, match=message):
        load_folder(photos).for_classes(num_classes)


def test_a_list_of_another_length_or_without_a_folders_name_is_refused(photos: Path):
    names = ("ant", "bee", "cat")
    with pytest.raises(InvalidInputError, match="expected 4 names"):
        load_folder(photos, classes=names).for_classes(4)
    with pytest.raises(InvalidInputError, match="--classes has no 'cat'"):
        load_folder(photos, classes=("ant", "bee", "dog"))


def test_folders_that_are_no_classes_are_refused():
    draw(Path("sets/train/cat/a.png"))
    draw(Path("sets/val/cat/a.png"))
    with pytest.raises(InvalidInputError, match=r"its folders are splits \(train, val\)"):
        load_folder(Path("sets"))
    Path("empty").mkdir()
    with pytest.raises(MissingDataError, match="no images"):
        load_folder(Path("empty"))
    with pytest.raises(MissingDataError, match="no such folder: gone"):
        load_folder(Path("gone"))


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no such file"), ("\n", "got none"), ("a\nb\na\n", "'a' occurs twice")],
)
def test_a_list_of_names_that_is_none_is_refused(text: str | None, message: str):
    path = Path("names.txt")
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(LicoBenchError, match=message):
        read_class_names(path)


def test_images_of_a_folder_are_a_dataset_for_whoever_writes_python(tmp_path):
    for name, shade in (("dark", 10), ("light", 240)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), (shade,) * 3).save(tmp_path / name / "0.png")
    dataset = lico_bench.load_images(str(tmp_path))
    assert dataset.class_names == ("dark", "light")
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.images.mean((1, 2, 3)).tolist() == pytest.approx([10 / 255, 240 / 255])
    for path in tmp_path.glob("*/*.png"):
        path.rename(tmp_path / f"{path.parent.name}.png")
    with pytest.raises(InvalidInputError, match="a folder of images per class"):
        lico_bench.load_images(tmp_path)


def test_class_folder_that_cannot_be_read_is_named(root: Path, closed):
    draw(root / "photos" / "ant" / "a.png")
    draw(root / "photos" / "bee" / "b.png")
    with closed(root / "photos" / "bee"), pytest.raises(BrokenFileError, match="cannot be read"):
        find_images(root / "photos")
