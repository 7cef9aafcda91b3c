"""Connection tables: which maps of a layer read which maps of its input."""

from __future__ import annotations

import numpy as np


def checked_table(table, maps):
    """`table` as a boolean array ``(maps, sources)``; ValueError if it is not one."""
    try:
        table = np.array(table)
    except ValueError:
        raise ValueError("a connection table is an array (maps, maps of the input) of booleans; its rows differ in length") \
            from None
    if table.ndim != 2 or table.dtype.kind not in "biuf" or not np.isin(table, (0, 1)).all():
        raise ValueError(f"a connection table is an array (maps, maps of the input) of booleans, got {table.dtype} "
                         f"{table.shape}")
    if maps is not None and len(table) != maps:
        raise ValueError(f"the connection table has {len(table)} rows for {maps} maps")
    if not table.any():
        raise ValueError("the connection table connects nothing")
    return table.astype(bool)


def check_sources(table, sources):
    """ValueError unless the table's columns are the maps of the input."""
    if table.shape[1] != sources:
        raise ValueError(f"the connection table has {table.shape[1]} columns, its input {sources} maps")


def maps_of_connections(table, learns):
    """Which maps have a connection that learns."""
    return np.bincount(np.argwhere(table)[:, 0], weights=learns, minlength=len(table)) > 0


def connection_number(table, target, source):
    """Where the connection stands in ``numpy.argwhere(table)``; ValueError if there is none."""
    if not (0 <= target < table.shape[0] and 0 <= source < table.shape[1] and table[target, source]):
        raise ValueError(f"map {target} does not read map {source}")
    return int(table[:target].sum() + table[target, :source].sum())
