"""Where pictures are drawn, and how they become files."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path

from ..files import write_whole


def new_figure(width, height):
    """A matplotlib figure of so many inches; ImportError with the remedy, where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install pycnn[plot]") from None
    return Figure(figsize=(width, height), layout="constrained")


def colour_map(name):
    """The colour map of that name: a function from numbers from 0 to 1 to red, green, blue and opacity.

    Raises
    ------
    ValueError
        When there is none.
    ImportError
        When matplotlib is missing.
    """
    try:
        from matplotlib import colormaps
    except ImportError:
        raise ImportError("colours need matplotlib: pip install pycnn[plot]") from None
    if name not in colormaps:
        raise ValueError(f"there is no colour map {name!r}; matplotlib's are such as turbo, inferno or viridis")
    return colormaps[name]


def picture_path(save):
    """Where a picture is to be written, checked before the work on it begins.

    Parameters
    ----------
    save : str, path or None
        A PNG file, in a folder that exists; None where no picture is wanted.

    Returns
    -------
    pathlib.Path or None

    Raises
    ------
    TypeError, ValueError
        When it is no path of a PNG file in a folder that exists.
    ImportError
        When matplotlib is missing.
    """
    if save is None:
        return None
    if not isinstance(save, (str, os.PathLike)):
        raise TypeError(f"save is the path of a PNG file, got {save!r}")
    path = Path(save)
    if path.suffix.lower() != ".png":
        raise ValueError(f"save is the path of a PNG file, so that its name ends in .png; got {str(save)!r}")
    check_folder(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("pictures need matplotlib: pip install pycnn[plot]")
    return path


def check_folder(path):
    """ValueError unless a file of that path can be written."""
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {str(path.parent)!r} to write {path.name} to")
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder, not a file to write")


def write_figure(path, draw):
    """Writes the figure that ``draw()`` makes; nothing where the path is None.

    Parameters
    ----------
    path : pathlib.Path or None
        What `picture_path` returned.
    draw : callable
        ``draw() -> matplotlib.figure.Figure``.
    """
    if path is not None:
        data = io.BytesIO()
        draw().savefig(data, dpi=100, format="png")
        write_whole(path, data.getvalue())
