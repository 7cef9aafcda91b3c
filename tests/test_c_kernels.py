"""The C program of csrc/tests: every kernel of every variant that this CPU runs, through the C header alone."""

import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent / "csrc"
CANDIDATES = [os.environ.get("CC"), "cc", "gcc", "clang"]
COMPILER = next((c for c in CANDIDATES if c and shutil.which(shlex.split(c)[0])), None)


@pytest.mark.skipif(not SOURCES.is_dir(), reason="the sources of the kernels are not beside the tests")
@pytest.mark.skipif(not COMPILER, reason="there is no C compiler")
def test_the_c_program_finds_every_kernel_right(tmp_path):
    def compiled(source):
        target = tmp_path / f"{source.parent.name}_{source.stem}.o"
        subprocess.run([*shlex.split(COMPILER), "-std=gnu11", "-O1", "-c", source, "-o", target], check=True)
        return target

    sources = [*SOURCES.glob("variants/*.c"), *SOURCES.glob("tests/*.c"), SOURCES / "runtime.c"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    program = tmp_path / "kernel_tests"
    subprocess.run([*shlex.split(COMPILER), *objects, "-lm", "-o", program], check=True)
    result = subprocess.run([program], capture_output=True, text=True)
    counts = re.search(r"^(\d+) passed, (\d+) failed$", result.stdout, re.MULTILINE)
    assert counts and int(counts[2]) == 0 and result.returncode == 0, result.stdout + result.stderr
    assert int(counts[1]) > 10_000
