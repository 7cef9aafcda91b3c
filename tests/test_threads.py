"""A plan runs on one thread or on all, whichever is faster at the moment."""

import pytest

from pycnn.threads import FIRST_PERIOD, ThreadChoice


def run(choice, limit, seconds, times):
    """The threads of so many runs; `seconds` says how long a run on one and on all threads takes."""
    chosen = []
    for _ in range(times):
        chosen.append(choice.threads(limit))
        choice.took(chosen[-1], seconds[chosen[-1]])
    return chosen


@pytest.mark.parametrize("faster, slower", [(1, 2), (2, 1)])
def test_the_faster_way_is_taken_and_the_slower_tried_ever_more_rarely(faster, slower):
    chosen = run(ThreadChoice(), 2, {faster: 1.0, slower: 5.0}, 2000)
    trials = [i for i, threads in enumerate(chosen) if threads == slower and i > 5]
    assert len(trials) < 10 and chosen[-1] == faster
    gaps = [b - a for a, b in zip(trials, trials[1:])]
    assert gaps == sorted(gaps)


def test_the_choice_follows_when_the_other_way_becomes_faster():
    choice = ThreadChoice()
    run(choice, 2, {1: 1.0, 2: 5.0}, 4 * FIRST_PERIOD)
    chosen = run(choice, 2, {1: 1.0, 2: 0.6}, 40 * FIRST_PERIOD)
    assert chosen[-FIRST_PERIOD:].count(2) >= FIRST_PERIOD - 1


def test_with_one_thread_there_is_no_choice():
    assert set(run(ThreadChoice(), 1, {1: 1.0}, 100)) == {1}


def test_another_limit_begins_anew():
    choice = ThreadChoice()
    run(choice, 2, {1: 1.0, 2: 5.0}, 50)
    assert choice.threads(4) == 4 and choice.threads(1) == 1
