"""The rows of many cells in little memory: texts are kept as numbers that stand for them.

Ten million rows take 0.4 GB so, and 6 GB with every text written out. A text column becomes a
pandas categorical whose categories are sorted, so that sorting and grouping by it gives the order
that the texts have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

Where = Mapping[str, Collection[str]]


def keep_rows(table: Any, where: Where) -> Any:
    """The rows of an Arrow table whose texts are among those wanted, by column."""
    wanted = np.ones(table.num_rows, dtype=bool)
    for name, texts in where.items():
        wanted &= _is_among(table.column(name), texts)
    return table if wanted.all() else table.filter(pa.array(wanted))


def join_rows(tables: Iterable[Any], columns: Sequence[str]) -> pd.DataFrame:
    """The columns named of Arrow tables, one after the other; a table is needed but once."""
    joined = {name: _Column() for name in columns}
    for table in tables:
        # A table without rows says nothing of the kinds of its columns.
        for name, column in joined.items() if table.num_rows else ():
            column.add(table.column(name).combine_chunks())
    # Each column is let go as soon as it is whole.
    return pd.DataFrame({name: joined.pop(name).whole() for name in columns}, copy=False)


class _Column:
    """One column of many tables: numbers of texts as long as all of it is numbered texts."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: list[tuple[bool, NDArray[Any]]] = []

    def add(self, values: Any) -> None:
        """Take the values of one table."""
        is_numbered = pa.types.is_dictionary(values.type)
        part = self._numbered(values) if is_numbered else values.to_pandas().to_numpy()
        self._parts.append((is_numbered, part))

    def whole(self) -> Any:
        """All values in the order in which they came."""
        parts, self._parts = self._parts, []
        if not parts:
            return np.empty(0, dtype=object)
        if not all(is_numbered for is_numbered, _ in parts):
            return np.concatenate([self._texts(part) if n else part for n, part in parts])
        texts = sorted(self._numbers)
        numbers = np.concatenate([part for _, part in parts])
        del parts
        place = np.empty(len(texts) + 1, dtype=np.min_scalar_type(-len(texts) - 1))
        place[[self._numbers[text] for text in texts]] = np.arange(len(texts))
        place[-1] = -1  # where a text is missing
        return pd.Categorical.from_codes(place[numbers], categories=pd.Index(texts), validate=False)

    def _numbered(self, values: Any) -> NDArray[Any]:
        texts = values.dictionary.to_pylist()
        found = [self._numbers.setdefault(text, len(self._numbers)) for text in texts]
        places = values.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
        kind = np.min_scalar_type(-len(self._numbers) - 1)
        numbers: NDArray[Any] = np.array([*found, -1], dtype=kind)[places]
        return numbers

    def _texts(self, numbers: NDArray[Any]) -> NDArray[Any]:
        texts: NDArray[Any] = np.array([*self._numbers, None], dtype=object)[numbers]
        return texts


def _is_among(column: Any, texts: Collection[str]) -> NDArray[np.bool_]:
    """Whether each entry of a column is one of `texts`; a missing one is not."""
    values = column.combine_chunks()
    numbered = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    is_wanted = np.array([*(text in texts for text in numbered.dictionary.to_pylist()), False])
    places = numbered.indices.fill_null(len(is_wanted) - 1).to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = is_wanted[places]
    return found
