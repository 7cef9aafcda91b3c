"""The progress bar of long work."""

import math
import sys
import time

REFRESH_SECONDS = 0.1   # between two updates of the progress bar
LASTING_SECONDS = 1.0   # bars of shorter epochs give way to the next


class Progress:
    """A tqdm bar, or nothing.

    Attributes
    ----------
    due : float
        When the bar is to be shown anew, in seconds of `time.perf_counter`.
    """

    def __init__(self, verbose, net):
        self._on = verbose == 1
        self.unit = " images" if any(len(shape) >= 3 for shape in net.input_shapes.values()) else " samples"
        self.due = math.inf
        self._figures = self._last = None

    def begin(self, title, samples, done=0):
        """A new bar that counts to `samples`, `done` of them counted already; it begins with the last one's figures."""
        if self._on:
            from tqdm import tqdm

            self._bar = tqdm(total=samples, initial=done, desc=title, unit=self.unit, unit_scale=True, leave=False,
                             postfix=self._figures)
            self._title, self._begun = title, time.perf_counter()
            self.due = self._begun + REFRESH_SECONDS

    def show(self, sums, metrics=None):
        """Shows how far it has come, and what the figures are."""
        self._bar.n = sums.samples
        self._bar.set_postfix_str(described(metrics or sums.metrics()))
        self.due = time.perf_counter() + REFRESH_SECONDS

    def end(self, sums, metrics=None):
        """Leaves the bar with the final figures if it took long, and takes it away if not, or without figures."""
        if self._on:
            self._bar.leave = metrics is not None and time.perf_counter() - self._begun >= LASTING_SECONDS
            if metrics is not None:
                self.show(sums, metrics)
                self._figures = described(metrics)
                self._last = None if self._bar.leave else f"{self._title}: {self._figures}"
            self._bar.close()
            self.due = math.inf

    def close(self):
        """Writes the figures of the last bar, if it was taken away."""
        if self._last:
            print(self._last, file=sys.stderr)


def described(metrics):
    """Losses and accuracies in words."""
    return ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())


def shown(steps, title, unit, verbose):
    """The steps one after the other, with a progress bar where `verbose` is not 0, which goes away in the end."""
    if not verbose:
        return steps
    from tqdm import tqdm

    return tqdm(steps, desc=title, unit=unit, leave=False)
