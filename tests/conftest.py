"""What all tests share: hypothesis draws the same examples on every run, and tests run outside the source tree."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import pycnn

settings.register_profile("pycnn", deadline=None, derandomize=True)
settings.load_profile("pycnn")


@pytest.fixture(scope="session", autouse=True)
def outside_the_source_tree(tmp_path_factory):
    """In another folder, so that programs that tests start import the package under test, not the sources beside it."""
    before = os.getcwd()
    os.environ["PYTHONPATH"] = str(Path(pycnn.__file__).resolve().parent.parent)
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)
