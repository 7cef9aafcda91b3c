"""Games that GNU Go plays against itself, spoken to in the Go Text Protocol, and kept as SGF files."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from ..files import write_whole

PROGRAM = "gnugo"
FOLDERS = ("/usr/games", "/usr/local/games")    # where distributions put games, often outside PATH
OPENING_STONES = (4, 6)     # from so many to so many lie at random before the first move: the program plays from them
                            # almost the same game each time, and with fewer the games would share many positions
MARGIN = 1                  # lines at the border where none of them lies
COLOURS = "bw"


class GnuGo:
    """A process of GNU Go, and the commands it understands.

    Parameters
    ----------
    *options : str
        Of the program.

    Raises
    ------
    FileNotFoundError
        Where the program is missing.
    """

    def __init__(self, *options):
        self._process = subprocess.Popen([program(), "--mode", "gtp", *options], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)

    def ask(self, command):
        """The answer to a command; RuntimeError where it is refused."""
        self._process.stdin.write(command + "\n")
        lines = []
        for line in self._process.stdout:
            if line == "\n":        # ends an answer
                break
            lines.append(line.rstrip("\n"))
        answer = "\n".join(lines)
        if not answer.startswith("="):
            raise RuntimeError(f"{PROGRAM}: {command}: {answer or 'the program ended'}")
        return answer[1:].strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def program():
    """The path of GNU Go, or FileNotFoundError that says how to get it."""
    path = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(FOLDERS))
    if path is None:
        raise FileNotFoundError(f"{PROGRAM}, which plays the games, is missing; install it (apt install {PROGRAM}), or "
                                f"name a folder of SGF files by data_dir=")
    return path


def play_game(seed, size=9, level=1, komi=7):
    """A game of GNU Go against itself, the same for the same seed.

    Four to six stones lie on the board at random when it begins, by turns black and white.

    Parameters
    ----------
    seed : int
        Greater than 0.
    size : int
        Of the board: 7 to 19.
    level : int
        The program's strength, 0 to 10.
    komi : float

    Returns
    -------
    bytes
        SGF; the opening stones are its setup, and every move in it is the program's own.
    """
    from sgfmill import common, sgf

    rng = np.random.default_rng(seed)
    inner = size - 2 * MARGIN
    opening = rng.choice(inner**2, rng.integers(*OPENING_STONES, endpoint=True), replace=False)
    opening = [(int(p) // inner + MARGIN, int(p) % inner + MARGIN) for p in opening]
    game = sgf.Sgf_game(size)
    root, turn = game.get_root(), len(opening) % 2
    root.set("KM", komi)
    for player in ("PB", "PW"):
        root.set(player, f"GNU Go level {level}")
    root.set_setup_stones(opening[0::2], opening[1::2])
    root.set("PL", COLOURS[turn])
    with GnuGo("--level", str(level), "--seed", str(seed), "--never-resign") as gnugo:
        for command in (f"boardsize {size}", "clear_board", f"komi {komi}"):
            gnugo.ask(command)
        for i, point in enumerate(opening):
            gnugo.ask(f"play {COLOURS[i % 2]} {common.format_vertex(point)}")
        passes = 0
        for _ in range(2 * size**2):
            move = common.move_from_vertex(gnugo.ask(f"genmove {COLOURS[turn]}"), size)
            game.extend_main_sequence().set_move(COLOURS[turn], move)
            turn, passes = 1 - turn, passes + 1 if move is None else 0
            if passes == 2:
                break
        root.set("RE", gnugo.ask("final_score"))
    return game.serialise()


def play_games(folder, games, size=9, level=1, verbose=1):
    """Has games played, as many at a time as the machine has CPUs, and kept: number n in the file ``n.sgf``.

    Those that are there already are not played again.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    games : int
        In all.
    size, level : int
        As `play_game` takes them.
    verbose : {0, 1}
        1 shows a progress bar.

    Returns
    -------
    list of str
        The paths of the games, in the order of their numbers.
    """
    from tqdm import tqdm

    paths = [os.path.join(folder, f"{number:05d}.sgf") for number in range(1, games + 1)]
    missing = [(number, path) for number, path in enumerate(paths, 1) if not os.path.exists(path)]
    if not missing:
        return paths
    program()
    os.makedirs(folder, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(lambda n, path: write_whole(path, play_game(n, size, level)), *task) for task in missing]
        try:
            bar = tqdm(as_completed(tasks), desc=f"{PROGRAM} plays itself", total=games, initial=games - len(missing),
                       unit=" games", disable=not verbose)
            for task in bar:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
    return paths
