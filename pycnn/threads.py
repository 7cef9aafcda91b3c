"""How many threads a program runs on: all that it may, or one, whichever takes less time at the moment.

Sharing pays when there is enough work, and when the other cores are free. Neither is known beforehand, but results do not
depend on the number of threads, so a program can be timed: it runs as was faster lately, and now and then the other way.
"""

import time

FIRST_RUNS = 3          # on all threads, before the choice begins: they also warm up
FIRST_PERIOD = 16       # runs until the slower way is tried again,
LONGEST_PERIOD = 1024   # doubled as long as it stays slower
NEWEST = 0.25           # weight of the newest time in the average


class ThreadChoice:
    """Chooses between one thread and all.

    Examples
    --------
    >>> choice = ThreadChoice()
    >>> threads = choice.threads(2)
    >>> choice.took(threads, 0.001)
    """

    def run(self, program, limit, arrays, outputs, begin=0):
        """Runs a program from step `begin` on, on at most `limit` threads, and learns from it."""
        threads = self.threads(limit)
        start = time.perf_counter()
        program.run(arrays, threads=threads, begin=begin, outputs=outputs)
        self.took(threads, time.perf_counter() - start)

    def __init__(self):
        self._begin(None)

    def _begin(self, limit):
        self._limit = limit
        self._seconds = {}          # number of threads -> average
        self._runs = 0
        self._period, self._since = FIRST_PERIOD, 0

    def threads(self, limit):
        """The number of threads for the next run, at most `limit`."""
        if limit != self._limit:
            self._begin(limit)
        if limit == 1 or self._runs < FIRST_RUNS:
            return limit
        for untried in (1, limit):
            if untried not in self._seconds:
                return untried
        best = min(self._seconds, key=self._seconds.get)
        if self._since >= self._period:
            return limit if best == 1 else 1
        return best

    def took(self, threads, seconds):
        """Tells how long the run took."""
        self._runs += 1
        if self._limit == 1 or self._runs <= FIRST_RUNS:
            return
        known = self._seconds.get(threads)
        best = min(self._seconds, key=self._seconds.get, default=threads)
        self._seconds[threads] = seconds if known is None else known + NEWEST * (seconds - known)
        self._since += 1
        if threads != best and known is not None:       # a trial of the slower way
            won = seconds < self._seconds[best]
            if won:
                self._seconds[threads] = seconds
            self._period = FIRST_PERIOD if won else min(LONGEST_PERIOD, 2 * self._period)
            self._since = 0
