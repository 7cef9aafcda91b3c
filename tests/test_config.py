"""pycnn.config: the instruction set and the number of threads are what the user asked for, or a clear error."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import pycnn
from pycnn import _kernels, config, functional

FEW_CHECKS = """
import numpy as np
from pycnn import config, functional, reference

rng = np.random.default_rng(0)
for n, c, k, groups in [(2, 3, 16, 1), (20, 5, 6, 1), (3, 8, 8, 8), (17, 6, 10, 2), (1, 20, 33, 1)]:
    for dtype, tolerance in [(np.float32, 1e-4), (np.float64, 1e-11)]:
        x, w = rng.standard_normal((n, c, 9, 7)).astype(dtype), rng.standard_normal((k, c // groups, 3, 2)).astype(dtype)
        b, parameters = rng.standard_normal(k).astype(dtype), dict(stride=(2, 1), padding=((1, 2), (0, 1)), groups=groups)
        y = functional.conv_forward(x, w, b, **parameters)
        np.testing.assert_allclose(y, reference.conv_forward(x, w, b, **parameters), tolerance, tolerance)
        dx = functional.conv_backward_data(y, w, x.shape, **parameters)
        expected = reference.conv_backward_data(y, w, x.shape, **parameters)
        np.testing.assert_allclose(dx, expected, tolerance, 10 * tolerance)
        dw, db = functional.conv_backward_weights(y, x, w.shape, **parameters)
        for actual, right in zip((dw, db), reference.conv_backward_weights(y, x, w.shape, **parameters)):
            np.testing.assert_allclose(actual, right, tolerance, 100 * tolerance)
        for actual, right in zip(functional.max_pool_forward(y, 2), reference.max_pool_forward(y, 2)):
            np.testing.assert_array_equal(actual, right)
print(config.show_config()["isa"])
"""


def run_python(code, **environment):
    """Runs code in a new interpreter with these environment variables."""
    path = str(pathlib.Path(pycnn.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def has(isa):
    try:
        return bool(_kernels.Kernels(isa, 4))
    except ValueError:
        return False


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512", "neon"])
def test_each_instruction_set_that_the_cpu_has_computes_the_same(isa):
    if not has(isa):
        pytest.skip(f"this CPU or build has no {isa}")
    result = run_python(FEW_CHECKS, PYCNN_ISA=isa)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == isa


def test_an_unknown_instruction_set_is_refused_at_import():
    result = run_python("import pycnn.config", PYCNN_ISA="mmx")
    assert result.returncode != 0
    assert "ValueError: PYCNN_ISA='mmx' is unknown, or this CPU or build lacks it; the best here is" in result.stderr


def test_the_best_instruction_set_is_taken_by_default():
    result = run_python(
        "from pycnn import _kernels, config; assert config.show_config()['isa'] == _kernels.best_isa()", PYCNN_ISA=""
    )
    assert result.returncode == 0, result.stderr


def test_kernels_are_those_of_the_dtype():
    assert config.kernels(np.float32).real_size == 4
    assert config.kernels("float64").real_size == 8
    assert config.kernels(np.float32).lanes == 2 * config.kernels(np.float64).lanes
    assert config.kernels(np.float32) is config.kernels(np.float32)


@pytest.fixture
def restored_threads():
    before = _kernels.max_threads()
    yield
    config._thread_limit = None
    _kernels.set_max_threads(before)


@pytest.mark.skipif(not _kernels.has_openmp(), reason="built without OpenMP")
def test_the_number_of_threads_can_be_set_and_raised_again(restored_threads):
    for n in (1, 3, 2):
        config.set_num_threads(n)
        assert config.get_num_threads() == n


@pytest.mark.parametrize(
    "n, error, message",
    [
        (0, ValueError, "the number of threads must be at least 1, got 0"),
        (-2, ValueError, "at least 1, got -2"),
        (1.5, TypeError, "the number of threads must be an integer, got 1.5"),
        (True, TypeError, "must be an integer, got True"),
        (None, TypeError, "must be an integer, got None"),
    ],
)
def test_a_bad_number_of_threads_is_refused_and_changes_nothing(n, error, message):
    before = config.get_num_threads()
    with pytest.raises(error, match=message):
        config.set_num_threads(n)
    assert config.get_num_threads() == before


@pytest.mark.skipif(not _kernels.has_openmp(), reason="built without OpenMP")
def test_a_limit_of_threadpoolctl_is_honoured(restored_threads):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    config.set_num_threads(3)
    with threadpoolctl.threadpool_limits(1):
        assert config.get_num_threads() == 1
    with threadpoolctl.threadpool_limits(2, user_api="openmp"):
        assert config.get_num_threads() == 2
    assert config.get_num_threads() == 3


@pytest.mark.skipif(not _kernels.has_openmp(), reason="built without OpenMP")
def test_omp_num_threads_is_honoured():
    result = run_python("from pycnn import config; print(config.get_num_threads())", OMP_NUM_THREADS="3")
    assert result.stdout.strip() == "3", result.stderr


def test_a_call_runs_on_as_many_threads_as_are_allowed(restored_threads, monkeypatch):
    asked = []
    monkeypatch.setattr(config, "get_num_threads", lambda: asked.append(1) or 1)
    functional.multiply(np.ones(100_000), np.ones(100_000))
    assert asked


def test_show_config_prints_what_it_returns(capsys):
    shown = config.show_config()
    printed = capsys.readouterr().out
    assert set(shown) == {
        "version", "isa", "lanes", "threads", "winograd", "openmp", "compiler", "numpy", "python", "machine",
    }
    assert shown["threads"] == config.get_num_threads()
    assert shown["lanes"] == {"float32": config.kernels("float32").lanes, "float64": config.kernels("float64").lanes}
    for name, value in shown.items():
        assert name in printed and str(value) in printed


def test_the_version_is_told_without_an_installation_too(monkeypatch):
    def missing(name):
        raise config.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(config.importlib.metadata, "version", missing)
    assert config.show_config()["version"] == "unknown (not installed)"
