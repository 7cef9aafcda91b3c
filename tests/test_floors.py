"""The house is built as docs/how-it-works.md draws it: every file stands on a floor, and imports from below only."""

import ast
import re
from pathlib import Path

import pytest

import pycnn

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path(pycnn.__file__).resolve().parent
PAGE = ROOT / "docs" / "how-it-works.md"


def heights():
    """Name of a file or package -> how high it stands; of two on one line the left one is higher."""
    drawing = PAGE.read_text(encoding="utf-8").split("## The floors")[1].split("```")[1]
    order = [name for line in drawing.splitlines() for name in re.findall(r"(\w+)(?:\.pyx?\b|/)", line)]
    assert len(set(order)) == len(order)
    return {name: -i for i, name in enumerate(order)}


def imported(path):
    """(what it imports of pycnn, line) for each import of a file, also of those within functions."""
    here = path.relative_to(SOURCES).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield (*base, *name.split("."))[0], node.lineno
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]:
                assert not name.startswith("pycnn"), f"{path}:{node.lineno}: imports are relative"


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")
def test_every_file_stands_on_a_floor_and_imports_from_below():
    height = heights()
    for path in sorted(SOURCES.rglob("*.py")):
        own = path.relative_to(SOURCES).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in height, f"{own} stands on no floor of {PAGE.name}"
        for name, line in imported(path):
            if name != own:
                assert height[name] < height[own], f"{path.relative_to(SOURCES)}:{line}: {own} must not import {name}"
    there = {path.name.split(".")[0] for path in SOURCES.iterdir()}
    assert height.keys() - there == {"csrc"}


@pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="the sources of the kernels are not beside the tests")
def test_the_page_of_the_kernel_library_names_every_file():
    page = (ROOT / "csrc" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "csrc" / "kernels").glob("*.h") if path.name not in page] == []
