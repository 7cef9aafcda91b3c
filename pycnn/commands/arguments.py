"""What several commands take: the parser, types of arguments, and those that commands share."""

from __future__ import annotations

import argparse

from ..models import MODELS

BAD_INPUT = 2
DATA = list(dict.fromkeys(name for model in MODELS.values() for name in model.recipes))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def common_arguments():
    """Those that all commands take."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=whole(1), metavar="N", help="the most threads to use")
    common.add_argument("--verbose", type=int, choices=(0, 1, 2), default=1,
                        help="0: quiet; 2: a line per epoch, tracebacks")
    common.add_argument("--json", action="store_true", help="end with one line of JSON; all else goes to stderr")
    return common


def data_arguments():
    """Those that name a data set."""
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", choices=DATA,
                      help="data set (default: the model's first, or what the file was trained on)")
    data.add_argument("--data-dir", metavar="DIR", help="where the data set's files are")
    return data


def whole(least):
    """An argparse type: an integer of at least `least`."""

    def convert(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return value

    return convert
