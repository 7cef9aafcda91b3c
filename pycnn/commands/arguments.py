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


class Commands:
    """The commands of a parser; call it to declare one.

    Parameters
    ----------
    parser : Parser
    dest : str
        The attribute of the parsed arguments that holds the command's name.
    common : ArgumentParser
        Arguments that all commands take.
    """

    def __init__(self, parser, dest, common):
        self._commands, self._common = parser.add_subparsers(dest=dest, required=True, metavar=dest.upper()), common

    def __call__(self, name, run, help, *parents):
        """The parser of a new command, to add its arguments to; ``run(args) -> dict`` does it."""
        sub = self._commands.add_parser(name, help=help, description=sentence(help), parents=[*parents, self._common])
        sub.set_defaults(run=run)
        return sub

    def group(self, name, dest, help):
        """A new command that has commands of its own."""
        return Commands(self._commands.add_parser(name, help=help, description=sentence(help)), dest, self._common)


def sentence(help):
    return help[0].upper() + help[1:] + "."


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
