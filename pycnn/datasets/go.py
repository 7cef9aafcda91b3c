"""Positions and moves of Go games."""

from __future__ import annotations

import os

import numpy as np

from .cache import cache_folder
from .gnugo import play_games
from .go_planes import RECENT, go_planes

LEVEL = 1           # GNU Go's strength in the games that are played for the data set
TEST_EVERY = 10     # one game of so many is held back
COLOURS = {"b": 1, "w": -1}


def go_games(data_dir=None, games=1500, size=9, verbose=1):
    """Positions of Go games, and the move that was played in each.

    Without a folder the games are those that GNU Go plays against itself, from four to six stones laid at random; the
    first call has them played and keeps them as SGF files in the folder ``go`` of the cache (minutes for a thousand).

    Parameters
    ----------
    data_dir : path, optional
        A folder with games of your own, ``*.sgf``; those on other boards are left out.
    games : int
        How many GNU Go plays; of your own, how many are read at most.
    size : int
        Of the board.
    verbose : {0, 1}
        1 shows a progress bar while games are played.

    Returns
    -------
    (x, y), (x_test, y_test)
        Feature planes float32 ``(N, 25, size, size)`` as of `go_planes`, seen by the player to move, and the point of
        the move int64 ``(N,)``, counted row by row from the top left. Passes are left out. Every tenth game is held
        back for the test.

    Raises
    ------
    FileNotFoundError
        Where GNU Go or the folder is missing.
    ImportError
        Where sgfmill is missing.
    ValueError
        When a file is not a game, or there are too few.
    """
    need_sgfmill()
    if data_dir is None:
        paths = play_games(os.path.join(cache_folder("go"), f"{size}x{size}-level{LEVEL}"), games, size, LEVEL, verbose)
    else:
        paths = sorted(entry.path for entry in os.scandir(data_dir) if entry.name.lower().endswith(".sgf"))[:games]
    played = [game for game in map(read_game, paths) if game[0].shape[1] == size]
    if len(played) < TEST_EVERY:
        raise ValueError(f"{len(played)} games on a board of {size}x{size} are too few; at least {TEST_EVERY}"
                         f"{'' if data_dir is None else f' must be in {data_dir}'}")
    held_back = played[TEST_EVERY - 1 :: TEST_EVERY]
    del played[TEST_EVERY - 1 :: TEST_EVERY]
    return examples(played), examples(held_back)


def need_sgfmill():
    """ImportError with the remedy, where sgfmill is missing."""
    try:
        import sgfmill  # noqa: F401
    except ImportError:
        raise ImportError("games of Go need sgfmill: pip install pycnn[go]") from None


def examples(games):
    """(planes, points) of all moves of games that `read_game` read."""
    stones, recent, ko, moves = (np.concatenate(parts) for parts in zip(*games))
    return go_planes(stones, recent, ko), moves


def read_game(path):
    """The positions of a game in which a stone was played.

    Parameters
    ----------
    path : path
        An SGF file; of several games the first, of variations the main line.

    Returns
    -------
    stones : array of int8 (N, size, size)
        The boards, seen by the player to move.
    recent : array of int64 (N, 4)
    ko : array of int64 (N,)
        As `go_planes` takes them.
    moves : array of int64 (N,)
        The points that were played.

    Raises
    ------
    ValueError
        When the file is not a game of Go.
    """
    from sgfmill import sgf, sgf_moves

    with open(path, "rb") as f:
        data = f.read()
    try:
        game = sgf.Sgf_game.from_bytes(data)
        board, plays = sgf_moves.get_setup_and_moves(game)
        return positions(board, plays)
    except ValueError as error:
        raise ValueError(f"{path}: not a game of Go that can be read: {error}") from None


def positions(board, plays):
    """What `read_game` returns, of an sgfmill board and the moves ``(colour, (row, column) or None)`` from there."""
    size, latest, forbidden = board.side, [-1] * RECENT, None
    stones, recent, ko, moves = [], [], [], []

    def number(move):
        return -1 if move is None else (size - 1 - move[0]) * size + move[1]

    for colour, move in plays:
        if move is not None:
            seen = np.zeros((size, size), np.int8)
            for other, (row, column) in board.list_occupied_points():
                seen[size - 1 - row, column] = COLOURS[other] * COLOURS[colour]
            stones.append(seen)
            recent.append(latest)
            ko.append(number(forbidden))
            moves.append(number(move))
        try:
            forbidden = None if move is None else board.play(*move, colour)
        except ValueError:
            raise ValueError(f"move {len(moves)} is on a stone") from None
        latest = [number(move), *latest[:-1]]
    count = len(moves)
    return (np.array(stones, np.int8).reshape(count, size, size), np.array(recent, np.int64).reshape(count, RECENT),
            np.array(ko, np.int64), np.array(moves, np.int64))
