"""Tables of finished cells: reading, checking, filtering and joining them.

Tables may come from another person. Names become parts of paths and table cells, so they contain
neither slashes nor control characters.

Rows and curves are joined as Arrow tables with dictionary-encoded text columns. Ten million rows
take 0.4 GB this way and 6 GB as strings. A text column becomes a pandas categorical with sorted
categories, so that sorting and grouping follow the order of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from lico_bench.checks import is_name, is_single_line, is_title
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.cell_folder import CellFolder
from lico_bench.store.codec import REMEDY, shown
from lico_bench.store.files import Damage
from lico_bench.store.parquet import read_arrow, read_parquet

Where = Mapping[str, Collection[str]]

# Columns that identify a row within a cell.
KEYS = {
    "rows": ("image_id", "method", "metric", "protocol"),
    "curves": ("image_id", "method", "protocol", "curve"),
    "gallery": ("image_id", "method"),
    "history": ("epoch", "quantity"),
}
COLUMNS = {
    "rows": ROW_COLUMNS,
    "curves": CURVE_COLUMNS,
    "gallery": ("cell", *KEYS["gallery"]),
    "history": ("cell", *KEYS["history"], "value"),
}
NUMBERS = {"rows": ("value",), "history": ("epoch", "value")}  # numeric columns
LISTS = {"curves": ("fractions", "values"), "gallery": ("map",)}
NAME_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "labels", "method", "metric",
    "protocol", "curve", "quantity",
)  # fmt: skip
TITLE_COLUMNS = ("label_name", "predicted_name", "flag")
ID_COLUMNS = ("image_id",)  # paths below a folder of images
TEXT_COLUMNS = (*NAME_COLUMNS, *TITLE_COLUMNS, *ID_COLUMNS)  # read dictionary-encoded
MAX_ID_LENGTH = 4_096
MAY_BE_EMPTY = ("method", "protocol", "flag")  # method, protocol: model scores; flag: valid scores
IMAGE_KEY = ["cell", "image_id"]  # columns that identify an image
IMAGE_COLUMNS = ["image_png", "region_png"]  # stored once per image
GALLERY_COLUMNS = (
    *IMAGE_KEY, "dataset", "source", "arm", "seed", "method", "label_name", "predicted_name",
    "correct", "height", "width", "map", *IMAGE_COLUMNS,
)  # fmt: skip


def read_encoded(path: Path, name: str, columns: Sequence[str], *, where: Where) -> pa.Table:
    """Return columns of the rows or curves of a finished cell, with texts dictionary-encoded.

    Args:
        name: of the table, `rows` or `curves`.
        where: values to keep by column.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged, or not a table of a cell.
    """
    needed = list(dict.fromkeys([*columns, *where]))
    table = _read(path, lambda path: read_arrow(path, needed, texts=TEXT_COLUMNS))
    _check(path, name, needed, table)
    return keep_rows(table, where)


def read_frame(path: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of a finished cell, which has at least the given columns.

    Args:
        name: of the table, `history` or `gallery`.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged, or not a table of a cell.
    """
    frame: pd.DataFrame = _read(path, read_parquet)
    _check(path, name, columns, frame)
    return frame


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    """Read a table of a finished cell; errors name the command that rebuilds it."""
    remedy = f"delete {path.parent / 'done.json'} and repeat the same `lico-bench run`"
    try:
        return read(path)
    except MissingDataError as error:
        raise MissingDataError(f"{path} of a finished cell is missing; {remedy}") from error
    except BrokenFileError as error:
        raise BrokenFileError(f"{path}: damaged or not a Parquet file; {remedy}") from error


def _check(path: Path, name: str, needed: Collection[str], table: pd.DataFrame | pa.Table) -> None:
    """Raise unless a table has the needed columns, and their values are of the right kinds."""
    columns = table.columns if isinstance(table, pd.DataFrame) else table.column_names
    first = table if isinstance(table, pd.DataFrame) else table.slice(0, 1).to_pandas()
    problem = _missing(needed, columns) or _wrong_kind(name, first)
    if problem:
        raise BrokenFileError(
            f"{path}: {problem}; it was not written by this version, start a new run"
        )
    check_texts(path, table)


def _missing(needed: Collection[str], present: Collection[str]) -> str:
    """Return which needed columns are missing; empty for none."""
    missing = [column for column in needed if column not in present]
    return f"columns missing: {', '.join(missing)}" if missing else ""


def _wrong_kind(name: str, frame: pd.DataFrame) -> str:
    """Return which numeric column holds no numbers, or list column no lists; empty for none."""
    if frame.empty:
        return ""
    numbers = [column for column in NUMBERS.get(name, ()) if column in frame]
    wrong = [column for column in numbers if not is_numeric_dtype(frame[column])]
    wrong += [column for column in LISTS.get(name, ()) if not _holds_lists(frame, column)]
    if not wrong:
        return ""
    got = f"{frame[wrong[0]].iloc[0]!r:.40}"
    return f"expected numbers in the column {wrong[0]}, got {got}"


def _holds_lists(frame: pd.DataFrame, column: str) -> bool:
    if column not in frame:  # reported by `_missing` or `with_images`
        return True
    first = frame[column].iloc[0]
    return isinstance(first, np.ndarray) and is_numeric_dtype(first.dtype)


def check_texts(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Raise unless the name, title and image-id columns of a stored table are valid.

    Raises:
        BrokenFileError: naming the file and the column.
    """
    names = table.columns if isinstance(table, pd.DataFrame) else table.column_names
    checks = ((NAME_COLUMNS, is_name), (TITLE_COLUMNS, is_title), (ID_COLUMNS, _is_id))
    rules = {name: is_valid for columns, is_valid in checks for name in columns if name in names}
    for name, is_valid in rules.items():
        texts = list(_unique_values(table, name))
        if name in ID_COLUMNS and _are_ids(texts):
            continue
        wrong = [text for text in texts if not is_valid(text)]
        if name in MAY_BE_EMPTY:
            wrong = [text for text in wrong if not isinstance(text, str) or text]
        if wrong:
            raise BrokenFileError(
                f"{path}: column {name}: expected names on one line without control "
                f"characters, got {shown(wrong[0])}; {REMEDY}"
            )


def _is_id(text: Any) -> bool:
    return is_single_line(text) and 0 < len(text) <= MAX_ID_LENGTH


def _are_ids(texts: list[Any]) -> bool:
    """Whether all texts are valid ids, in one pass over the joined texts: a run has millions."""
    if not all(isinstance(text, str) for text in texts):
        return False
    lengths = [len(text) for text in texts]
    has_valid_lengths = not texts or 0 < min(lengths) <= max(lengths) <= MAX_ID_LENGTH
    return has_valid_lengths and is_single_line("".join(texts))


def _unique_values(table: pd.DataFrame | pa.Table, name: str) -> Iterable[Any]:
    """Return the unique values of a column; of an encoded column, its dictionary."""
    if isinstance(table, pd.DataFrame):
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return [*column.cat.categories, *([None] if column.isna().any() else [])]
        return [] if column.empty else _unique(column.tolist())
    column = table.column(name)
    missing = [None] if column.null_count else []
    if not pa.types.is_dictionary(column.type):
        return [*missing, *column.unique().to_pylist()]
    return [*missing, *_unique(v for chunk in column.chunks for v in chunk.dictionary.to_pylist())]


def _unique(values: Iterable[Any]) -> Iterable[Any]:
    unique: dict[Any, None] = {}
    for value in values:
        if not isinstance(value, str):
            return [value]  # the caller reports it; it may be unhashable
        unique[value] = None
    return unique


def check_tables(cell: CellFolder, *, pair: str | None = None) -> tuple[Damage, ...]:
    """Return what is wrong with the content of a finished cell's tables.

    Args:
        pair: expected pair of the rows, from the manifest; not compared if None.
    """
    return tuple(
        Damage(cell.table(name), problem)
        for name in KEYS
        if (problem := next(_problems(cell, name, pair), ""))
    )


def _problems(cell: CellFolder, name: str, pair: str | None) -> Iterator[str]:
    owners = {"cell": cell.path.name, "pair": pair}
    texts = [*KEYS[name], *(owner for owner in owners if owner in COLUMNS[name])]
    try:
        table: Any = read_arrow(cell.table(name), COLUMNS[name], texts=texts)
    except (BrokenFileError, MissingDataError) as error:
        yield str(error)
        return
    if missing := _missing(COLUMNS[name], table.column_names):
        yield missing
        return
    for owner, key in owners.items():
        others = set(_unique_texts(table, owner)) - {key} if key is not None else set()
        if others:
            yield f"rows of another {owner}, {sorted(map(str, others))[0]}"
    count = cell.record().rows
    if name == "rows" and count is not None and table.num_rows != count:
        yield f"{table.num_rows:,} rows instead of {count:,}"
    repeated = int(table.select(list(KEYS[name])).to_pandas().duplicated().sum())
    if repeated:
        yield f"{repeated:,} rows occur twice"


def _unique_texts(table: Any, column: str) -> list[Any]:
    return table.column(column).unique().to_pylist() if column in table.column_names else []


def keep_rows(table: Any, where: Where) -> Any:
    """Return the rows of an Arrow table whose texts are among those of `where`, by column."""
    is_wanted = np.ones(table.num_rows, dtype=bool)
    for name, texts in where.items():
        is_wanted &= _is_among(table.column(name), texts)
    return table if is_wanted.all() else table.filter(pa.array(is_wanted))


def join_rows(tables: Iterable[Any], columns: Sequence[str]) -> pd.DataFrame:
    """Concatenate the given columns of Arrow tables; each table is read once and not kept."""
    joined = {name: _Column() for name in columns}
    for table in tables:
        # The column types of an empty table are arbitrary.
        for name, column in joined.items() if table.num_rows else ():
            column.add(table.column(name).combine_chunks())
    # `pop` frees each column as soon as it is concatenated.
    return pd.DataFrame({name: joined.pop(name).concatenated() for name in columns}, copy=False)


class _Column:
    """One column of many tables, kept as integer codes while all parts are dictionary-encoded."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}  # by text
        self._parts: list[tuple[bool, NDArray[Any]]] = []

    def add(self, values: Any) -> None:
        """Append the values of one table."""
        is_encoded = pa.types.is_dictionary(values.type)
        part = self._encode(values) if is_encoded else values.to_pandas().to_numpy()
        self._parts.append((is_encoded, part))

    def concatenated(self) -> Any:
        """Return all values in the order in which they were added; empties the column."""
        parts, self._parts = self._parts, []
        if not parts:
            return np.empty(0, dtype=object)
        if not all(is_encoded for is_encoded, _ in parts):
            return np.concatenate([self._decode(part) if e else part for e, part in parts])
        texts = sorted(self._codes)
        codes = np.concatenate([part for _, part in parts])
        del parts
        rank = np.empty(len(texts) + 1, dtype=np.min_scalar_type(-len(texts) - 1))
        rank[[self._codes[text] for text in texts]] = np.arange(len(texts))
        rank[-1] = -1  # a missing text has the code -1
        return pd.Categorical.from_codes(rank[codes], categories=pd.Index(texts), validate=False)

    def _encode(self, values: Any) -> NDArray[Any]:
        texts = values.dictionary.to_pylist()
        code_of = [self._codes.setdefault(text, len(self._codes)) for text in texts]
        indices = values.indices.fill_null(len(code_of)).to_numpy(zero_copy_only=False)
        dtype = np.min_scalar_type(-len(self._codes) - 1)
        codes: NDArray[Any] = np.array([*code_of, -1], dtype=dtype)[indices]
        return codes

    def _decode(self, codes: NDArray[Any]) -> NDArray[Any]:
        texts: NDArray[Any] = np.array([*self._codes, None], dtype=object)[codes]
        return texts


def _is_among(column: Any, texts: Collection[str]) -> NDArray[np.bool_]:
    """Whether each entry of a column is one of `texts`; False for a missing entry."""
    values = column.combine_chunks()
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    is_wanted = np.array([*(text in texts for text in encoded.dictionary.to_pylist()), False])
    indices = encoded.indices.fill_null(len(is_wanted) - 1).to_numpy(zero_copy_only=False)
    is_among: NDArray[np.bool_] = is_wanted[indices]
    return is_among


def with_images(gallery: pd.DataFrame, where: Path) -> pd.DataFrame:
    """Return the rows of a gallery with the image in every row; the bytes are not copied.

    Galleries of older versions, which store the image in every row, are returned unchanged.

    Args:
        where: path for error messages.

    Raises:
        BrokenFileError: for missing columns, or a map without an image.
    """
    if gallery.empty:
        return gallery
    missing = [name for name in GALLERY_COLUMNS if name not in gallery.columns]
    if missing:
        raise BrokenFileError(
            f"{where}: columns missing in a gallery.parquet: {', '.join(missing)}; "
            "it was not written by this version, start a new run"
        )
    images = gallery.loc[gallery["image_png"].notna(), [*IMAGE_KEY, *IMAGE_COLUMNS]]
    images = images.drop_duplicates(IMAGE_KEY)
    completed = gallery.drop(columns=IMAGE_COLUMNS).merge(images, on=IMAGE_KEY, how="left")
    is_missing = completed["image_png"].isna()
    if is_missing.any():
        first = completed[is_missing].iloc[0]
        raise BrokenFileError(
            f"{where}: a map of '{first['image_id']}' in the gallery of cell {first['cell']} has "
            "no image; delete that cell's folder and run the same command again"
        )
    return completed
