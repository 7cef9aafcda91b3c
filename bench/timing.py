"""Timing: contenders take turns in one process, so that what else the machine does meets them alike."""

import statistics
import time
from contextlib import contextmanager

import pycnn

from . import machine

SETTLING_SECONDS = 0.03


@contextmanager
def threads_set(count):
    """pycnn and PyTorch on so many threads."""
    before = pycnn.get_num_threads()
    pycnn.set_num_threads(count)
    try:
        import torch
        torch.set_num_threads(count)
    except ImportError:
        pass
    try:
        yield
    finally:
        pycnn.set_num_threads(before)


def calls_for(function, seconds):
    """How many calls take about so long."""
    count = 1
    while True:
        begin = time.perf_counter()
        for _ in range(count):
            function()
        taken = time.perf_counter() - begin
        if taken >= seconds / 2 or count >= 1 << 16:
            return max(1, min(1 << 16, round(count * seconds / max(taken, 1e-9))))
        count *= 4


def interleaved(functions, rounds=9, seconds=0.01):
    """Median seconds a call of each function, by name.

    Each round runs every function for about `seconds`, the calling thread on one core. Before its turn is a pause,
    in which the threads of the one before give up waiting for more work, and a few calls that do not count. Of the
    rounds, the better half counts for every contender alike, which leaves out those in which the machine was busy.
    """
    counts = {name: calls_for(function, seconds) for name, function in functions.items()}
    times = {name: [] for name in functions}
    some_keep = any(isinstance(function, machine.KeepingPages) for function in functions.values())
    with machine.on_one_core():
        for _ in range(rounds):
            for name, function in functions.items():
                if some_keep:
                    machine.keep_pages(isinstance(function, machine.KeepingPages))
                time.sleep(SETTLING_SECONDS)
                for _ in range(1 + counts[name] // 10):
                    function()
                begin = time.perf_counter()
                for _ in range(counts[name]):
                    function()
                times[name].append((time.perf_counter() - begin) / counts[name])
    if some_keep:
        machine.keep_pages(False)
    return {name: statistics.median(sorted(t)[: (rounds + 1) // 2]) for name, t in times.items()}


def better(times, others):
    """The shorter time of each contender of two sweeps."""
    return {name: min(t, others.get(name, t)) for name, t in times.items()}


def geometric_mean(values):
    values = list(values)
    return statistics.geometric_mean(values) if values else float("nan")
