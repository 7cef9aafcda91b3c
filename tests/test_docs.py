"""README.md and docs/: their blocks run and print what they say, and their links lead somewhere.

The ``python`` blocks of a page run in order, in one namespace and a folder of their own; of ``bash`` blocks the lines
``pycnn ...`` run, through `pycnn.cli.main`. A ``text`` block right behind is what a block prints, ``...`` standing for
anything. With ``text about`` numbers may be others. ``text avx2`` is what is printed with those instructions, which the
whole page then runs on, if the CPU has them. A block marked ``no-run`` is left alone.
"""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

import pycnn
from pycnn import cli, config
from pycnn.onnx.folding import FUNCTIONS
from pycnn.onnx.operators import OPERATORS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*filter(Path.exists, [ROOT / "README.md"]), *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "bash", "text"}


def name_of(page):
    return str(page.relative_to(ROOT))


class Block(NamedTuple):
    """A fenced block: its language, the words behind it, its text and the number of its first line."""

    language: str
    marks: tuple
    text: str
    line: int


def parts_of(page):
    """The page's blocks, with None between two that have text between them; and the text outside of blocks."""
    parts, outside = [], []
    inside, body, first = None, [], 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if inside is not None and line == "```":
            parts.append(Block(inside[0], tuple(inside[1:]), "".join(body), first))
            inside = None
        elif inside is not None:
            body.append(line + "\n")
        elif line.startswith("```"):
            inside, body, first = line[3:].split() or [""], [], number + 1
        elif line.strip():
            outside.append(line)
            parts.append(None)
    assert inside is None, f"{name_of(page)}: the block of line {first} has no end"
    return parts, "\n".join(outside)


def run_python(block, page, namespace):
    lines_before = "\n" * (block.line - 1)      # so that a traceback tells the line of the page
    exec(compile(lines_before + block.text, page, "exec"), namespace)  # noqa: S102


def run_commands(block, page):
    for number, line in enumerate(block.text.splitlines(), block.line):
        words = shlex.split(line, comments=True)
        if words:
            where = f"{name_of(page)}:{number}: {line}"
            assert words[0] == "pycnn", f"{where}: not a pycnn command; mark the block no-run"
            try:
                code = cli.main(words[1:])
            except SystemExit as end:
                code = end.code
            assert not code, f"{where}: exit code {code}"


def matches(expected, printed, about=False):
    """Whether they are alike but for what ``...`` stands for, blanks at the ends of lines, and numbers if `about`."""
    expected, printed = ("\n".join(map(str.rstrip, text.rstrip().splitlines())) for text in (expected, printed))
    if about:
        expected, printed = (re.sub(r"\d[\d,]*(\.\d+)?", "0", text) for text in (expected, printed))
    return re.fullmatch(".*?".join(map(re.escape, expected.split("..."))), printed, re.DOTALL)


def has(isa):
    try:
        pycnn._kernels.Kernels(isa, 4)
    except ValueError:
        return False
    return True


@pytest.fixture
def as_found(tmp_path, monkeypatch):
    """A folder for the page; instruction set and threads are put back afterwards."""
    monkeypatch.chdir(tmp_path)
    threads, limit = pycnn.get_num_threads(), config._thread_limit
    yield monkeypatch
    pycnn.set_num_threads(threads)
    config._thread_limit = limit
    monkeypatch.undo()
    config._kernels_of_size.cache_clear()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_run_and_print_what_the_page_says(page, as_found):
    parts, _ = parts_of(page)
    for isa in {mark for block in parts if block and block.language == "text" for mark in block.marks if has(mark)}:
        as_found.setattr(config, "_isa", isa)
        config._kernels_of_size.cache_clear()
    namespace, printed, wrong = {"__name__": "__main__"}, None, []
    for block in parts:
        if block is None:
            printed = None
        elif block.language == "text":
            about = "about" in block.marks
            here = about or not block.marks or config._isa in block.marks
            if printed is not None and here and not matches(block.text, printed, about):
                wrong.append(f"{name_of(page)}:{block.line} says\n{block.text}\nbut printed is\n{printed}")
        elif "no-run" in block.marks:
            printed = None
        elif block.language in ("python", "bash"):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                if block.language == "python":
                    run_python(block, str(page), namespace)
                else:
                    run_commands(block, page)
            printed = out.getvalue()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_known_language(page):
    for block in parts_of(page)[0]:
        if block:
            assert block.language in LANGUAGES, f"{name_of(page)}:{block.line}: {block.language!r}"
            assert block.language != "python" or not block.marks, f"{name_of(page)}:{block.line}: python always runs"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", parts_of(page)[1]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: there is no {target}"
        assert not heading or heading in headings_of(file), f"{name_of(page)}: there is no heading {target}"


def headings_of(page):
    """The headings of a page as links name them."""
    lines = [line.lstrip("# ") for line in parts_of(page)[1].splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_map_of_the_pages_names_them_all():
    links = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert sorted(links) == sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md")


@pytest.mark.parametrize(("page", "names"), [
    ("layers.md", [f"`L.{name}(" for name in pycnn.layers.__all__ if name != "Layer"]),
    ("layers.md", [f'`"{name}"`' for name in pycnn.initializers.INITIALIZERS]),
    ("kernels.md", [f"`{name}(" for name in pycnn.functional.__all__]),
    ("graphs.md", [f'`"{name}"`' for name in pycnn.losses.LOSSES]),
    ("onnx.md", [f"`{name}`" for name in (*OPERATORS, *FUNCTIONS)]),
    ("training.md", [f"`pycnn.{name}(" for name in pycnn.optimizers.OPTIMIZERS]),
    ("training.md", [f"`{kind.__name__}(" for kind in vars(pycnn.callbacks).values()
                     if isinstance(kind, type) and kind.__name__ not in ("Callback", "Monitor")]),
])
def test_a_table_leaves_nothing_out(page, names):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize(("expected", "printed", "about", "alike"), [
    ("1\n", "1\n", False, True),
    ("1\n", "2\n", False, False),
    ("{'loss': 0.3...}\n", "{'loss': 0.3123}\n", False, True),
    ("a  \nb\n", "a\nb\n\n", False, True),
    ("a ... c\n", "a b\nb c\n", False, True),
    ("a ... c\n", "a b\n", False, False),
    ("(1)\n", "1\n", False, False),
    ("97.5 %, 1,000 images\n", "8 %, 20 images\n", True, True),
    ("97.5 %\n", "many %\n", True, False),
    ("epoch 1: loss 0.5, ... s\n", "epoch 2: loss 0.25, 3.1 s\n", True, True),
])
def test_an_expected_output_matches_what_it_stands_for(expected, printed, about, alike):
    assert bool(matches(expected, printed, about)) == alike
