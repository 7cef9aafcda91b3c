"""Go: games and their positions, feature planes, the network, and what may be played."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import cli, models
from pycnn.datasets import augment, cache, gnugo, go_games, go_planes
from pycnn.datasets.go_planes import PLANES
from pycnn.training import History

GAMES = Path(__file__).resolve().parent / "data" / "go"
COUNTED = {"liberties": 8, "captures": 12, "stones in atari": 16, "liberties after a move": 20}   # planes from here on


def board(text):
    """Stones of a diagram: X the player to move, O the opponent."""
    rows = [row.split() for row in text.strip().splitlines()]
    return np.array([[{"X": 1, "O": -1, ".": 0}[c] for c in row] for row in rows], np.int8)[None]


def plane(planes, name):
    return planes[0, PLANES.index(name)]


def points_of(plane):
    return [tuple(map(int, p)) for p in np.argwhere(plane)]


# ---- the rules, played stone by stone --------------------------------------------------------------------------------


def neighbours(size, r, c):
    return [(a, b) for a, b in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)) if 0 <= a < size and 0 <= b < size]


def chain_at(stones, r, c):
    """(stones, liberties) of the chain at a point, as sets."""
    chain, liberties, stack = {(r, c)}, set(), [(r, c)]
    while stack:
        for p in neighbours(len(stones), *stack.pop()):
            if stones[p] == 0:
                liberties.add(p)
            elif stones[p] == stones[r, c] and p not in chain:
                chain.add(p)
                stack.append(p)
    return chain, liberties


def played(stones, r, c):
    """(stones captured, size of the new chain, its liberties) of a move to an empty point."""
    after, captured = stones.copy(), set()
    after[r, c] = 1
    for p in neighbours(len(stones), r, c):
        if after[p] == -1:
            chain, liberties = chain_at(after, *p)
            captured |= chain if not liberties else set()
    for p in captured:
        after[p] = 0
    chain, liberties = chain_at(after, r, c)
    return len(captured), len(chain), len(liberties)


def expected_counts(stones):
    """By name, the numbers that planes show, one for each point."""
    counts = {name: np.zeros(stones.shape, int) for name in COUNTED}
    for r, c in np.ndindex(stones.shape):
        if stones[r, c]:
            counts["liberties"][r, c] = len(chain_at(stones, r, c)[1])
            continue
        captured, size, liberties = played(stones, r, c)
        if liberties:
            counts["captures"][r, c] = captured
            counts["stones in atari"][r, c] = size if liberties == 1 else 0
            counts["liberties after a move"][r, c] = liberties
    return counts


def legal_board(size, seed):
    """Stones laid at random, those without liberties taken away."""
    rng = np.random.default_rng(seed)
    stones = rng.choice([-1, 0, 1], (size, size), p=[0.4, 0.2, 0.4]).astype(np.int8)
    for p in np.ndindex(stones.shape):
        if stones[p]:
            chain, liberties = chain_at(stones, *p)
            for q in chain if not liberties else ():
                stones[q] = 0
    return stones


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_planes_count_what_the_rules_say(size, count, seed):
    stones = np.stack([legal_board(size, seed + i) for i in range(count)])
    planes = go_planes(stones)
    assert planes.shape == (count, len(PLANES), size, size) and planes.dtype == np.float32
    np.testing.assert_array_equal(planes[:, 0], stones == 1)
    np.testing.assert_array_equal(planes[:, 1], stones == -1)
    np.testing.assert_array_equal(planes[:, 2], stones == 0)
    assert (planes[:, 3] == 1).all()
    for seen, shown in zip(stones, planes):
        expected = expected_counts(seen)
        for name, first in COUNTED.items():
            for i in range(4):
                of = expected[name]
                np.testing.assert_array_equal(shown[first + i], of > 3 if i == 3 else of == i + 1, err_msg=name)
        np.testing.assert_array_equal(shown[-1], expected["liberties after a move"] > 0)


def test_many_positions_and_large_boards_are_worked_on_block_by_block():
    stones = np.stack([legal_board(19, i) for i in range(60)])
    together = go_planes(stones)
    for i in (0, 21, 22, 23, 59):
        np.testing.assert_array_equal(go_planes(stones[i : i + 1])[0], together[i])
        np.testing.assert_array_equal(together[i, -1], expected_counts(stones[i])["liberties after a move"] > 0)
    assert go_planes(np.zeros((0, 9, 9), int)).shape == (0, len(PLANES), 9, 9)


def test_suicide_and_a_ko_that_was_just_taken_are_not_legal():
    ko = board("""
        . O X .
        O . O X
        . O X .
        . . . .
    """)
    free, forbidden = go_planes(ko), go_planes(ko, ko=[5])
    assert plane(free, "captures 1")[1, 1] == plane(free, "legal moves")[1, 1] == 1
    assert plane(free, "stones in atari 1")[1, 1] == 1
    assert plane(forbidden, "legal moves")[1, 1] == plane(forbidden, "captures 1")[1, 1] == 0
    assert plane(forbidden, "legal moves").sum() == plane(free, "legal moves").sum() - 1
    assert (0, 0) not in points_of(plane(free, "legal moves")) and (2, 0) in points_of(plane(free, "legal moves"))


def test_the_latest_moves_have_planes():
    planes = go_planes(np.zeros((1, 5, 5), int), recent=[[7, -1, 3, 24]])
    assert [points_of(planes[0, i]) for i in range(4, 8)] == [[(1, 2)], [], [(0, 3)], [(4, 4)]]


@pytest.mark.parametrize("arguments", [
    (np.zeros((3, 4)),), (np.zeros((1, 3, 4)),), (np.zeros((2, 3, 3)), np.zeros((1, 4), int)),
    (np.zeros((2, 3, 3)), None, np.zeros(3, int)),
])
def test_positions_that_do_not_belong_together_are_refused(arguments):
    with pytest.raises(ValueError, match="shape|positions need"):
        go_planes(*arguments)


# ---- games -----------------------------------------------------------------------------------------------------------

def write_game(path, text):
    path.write_bytes(text)
    return path


def test_a_game_is_read_as_its_players_saw_it(tmp_path):
    pytest.importorskip("sgfmill")
    from pycnn.datasets.go import read_game

    game = b"(;SZ[3];B[ba];W[aa];B[ab];W[];B[cc];W[tt];B[bb])"
    stones, recent, ko, moves = read_game(write_game(tmp_path / "game.sgf", game))
    assert moves.tolist() == [1, 0, 3, 8, 4]
    assert recent[2].tolist() == [0, 1, -1, -1] and recent[3].tolist() == [-1, 3, 0, 1]
    assert (ko == -1).all() and stones.shape == (5, 3, 3)
    np.testing.assert_array_equal(stones[1], [[0, -1, 0], [0, 0, 0], [0, 0, 0]])    # as White sees Black's stone
    np.testing.assert_array_equal(stones[2], [[-1, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(stones[3], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])     # White's stone is taken


def test_a_ko_is_known_for_one_move_and_the_main_line_is_read(tmp_path):
    pytest.importorskip("sgfmill")
    from pycnn.datasets.go import read_game

    game = b"(;SZ[4]AB[ba][ab][bc]AW[ca][db][cc][bb];B[cb];W[aa](;B[dd];W[bb])(;B[da]))"
    stones, recent, ko, moves = read_game(write_game(tmp_path / "game.sgf", game))
    assert moves.tolist() == [6, 0, 15, 5] and ko.tolist() == [-1, 5, -1, -1]
    assert go_planes(stones, recent, ko)[1, -1, 1, 1] == 0 and go_planes(stones, recent, ko)[3, -1, 1, 1] == 1


def test_games_become_positions_of_games_for_training_and_of_others_for_the_test():
    pytest.importorskip("sgfmill")
    (x, y), (x_test, y_test) = go_games(GAMES)
    assert x.shape[1:] == x_test.shape[1:] == (25, 9, 9) and x.dtype == np.float32 and y.dtype == np.int64
    assert len(x) == len(y) > 500 and 50 < len(x_test) == len(y_test) < 120
    legal = np.take_along_axis(x[:, -1].reshape(len(x), 81), y[:, None], axis=1)
    assert (legal == 1).all()
    first = go_games(GAMES, games=10)
    np.testing.assert_array_equal(first[1][0], x_test[: len(first[1][0])])


def test_what_is_not_a_game_is_named(tmp_path):
    pytest.importorskip("sgfmill")
    with pytest.raises(FileNotFoundError):
        go_games(tmp_path / "missing")
    with pytest.raises(ValueError, match="0 games on a board of 9x9 are too few"):
        go_games(tmp_path)
    with pytest.raises(ValueError, match="0 games on a board of 19x19"):
        go_games(GAMES, size=19)
    for text in (b"no game", b"(;SZ[9];B[aa];W[aa])", b"(;SZ[9];B[aa];AB[bb])", b"(;SZ[9]B[aa])"[:9]):
        write_game(tmp_path / "bad.sgf", text)
        with pytest.raises(ValueError, match="bad.sgf: not a game of Go"):
            go_games(tmp_path)


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sgfmill", None)
        with pytest.raises(ImportError, match=r"pip install pycnn\[go\]"):
            go_games()
    pytest.importorskip("sgfmill")
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    monkeypatch.setattr(gnugo.shutil, "which", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match="apt install gnugo"):
        go_games()
    assert not list(tmp_path.iterdir())


PLAYER = """#!{python}
import sys
moves = iter({moves})
for command in sys.stdin:
    with open({log!r}, "a") as f:
        f.write(command)
    if command.startswith("genmove"):
        print("=", next(moves), end="\\n\\n", flush=True)
    elif command.startswith("final_score"):
        print("= W+7.0", end="\\n\\n", flush=True)
    elif "komi 99" in command:
        print("? no such komi", end="\\n\\n", flush=True)
    else:
        print("=", end="\\n\\n", flush=True)
"""


@pytest.fixture
def player(monkeypatch, tmp_path):
    """A program that plays A9, J1 and passes twice; the value is the file of the commands that it got."""
    log, script = tmp_path / "commands", tmp_path / "player"
    script.write_text(PLAYER.format(python=sys.executable, moves=["A9", "J1", "PASS", "PASS"], log=str(log)))
    script.chmod(0o755)
    monkeypatch.setattr(gnugo, "program", lambda: str(script))
    return log


def test_a_game_is_played_through_the_go_text_protocol(player, tmp_path):
    pytest.importorskip("sgfmill")
    from pycnn.datasets.go import read_game

    games = []
    for seed in (1, 2, 3, 4):
        player.unlink(missing_ok=True)
        game = gnugo.play_game(seed)
        opening = [line.split()[1:] for line in player.read_text().splitlines() if line.startswith("play")]
        assert [colour for colour, _ in opening] == list("bwbwbw"[: len(opening)])
        stones, _, _, moves = read_game(write_game(tmp_path / "game.sgf", game))
        assert moves.tolist() == [0, 80] and np.count_nonzero(stones[0]) == len(opening)
        assert b"RE[W+7.0]" in game
        games.append(game)
    assert len(set(games)) > 1
    with pytest.raises(RuntimeError, match="komi 99: . no such komi"):
        gnugo.play_game(1, komi=99)


def test_games_that_are_there_are_not_played_again(player, tmp_path):
    pytest.importorskip("sgfmill")
    paths = gnugo.play_games(tmp_path / "games", 3, verbose=0)
    assert [Path(p).name for p in paths] == ["00001.sgf", "00002.sgf", "00003.sgf"]
    Path(paths[1]).unlink()
    player.unlink()
    assert gnugo.play_games(tmp_path / "games", 3, verbose=0) == paths
    assert player.read_text().count("boardsize 9") == 1


def test_gnugo_plays_the_same_game_with_the_same_seed():
    pytest.importorskip("sgfmill")
    try:
        gnugo.program()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    game = gnugo.play_game(3, level=0)
    assert game == gnugo.play_game(3, level=0) and game.count(b";") > 20 and b"RE[" in game


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("PYCNN_DATA", "/data")
    assert cache.cache_folder("go") == "/data/go"
    monkeypatch.delenv("PYCNN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache.cache_folder("go") == "/caches/pycnn/go"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert Path(cache.cache_folder("go")).parts[-2:] == ("pycnn", "go")


# ---- the network -----------------------------------------------------------------------------------------------------


def parameters_of(size, planes, filters, depth):
    """Counted from the architecture: a 5x5 layer, depth - 2 of 3x3 with a bias a map, one 1x1 with a bias a point."""
    return (planes * 25 + 1) * filters + (depth - 2) * (filters * 9 + 1) * filters + filters + size**2


@pytest.mark.parametrize("arguments", [(9, 25, 64, 6), (19, 48, 192, 13), (5, 3, 4, 2)])
def test_the_network_has_the_layers_of_the_papers_on_any_board(arguments):
    size, planes, filters, depth = arguments
    net = models.go(*arguments)
    assert net.count_parameters() == net.count_parameters(trainable=True) == parameters_of(*arguments)
    assert net.output_shapes == {"scores": (size**2,)}
    convs = [layer for layer in net.layers.values() if isinstance(layer, pycnn.layers.Conv)]
    assert [c.kernel_size for c in convs] == [5, *[3] * (depth - 2), 1] and [c.filters for c in convs][-1] == 1
    assert not any("Pool" in type(layer).__name__ for layer in net.layers.values())


def test_the_published_network_has_13_layers_and_3882793_parameters():
    net = models.go(19, 48, 192, 13)
    assert net.count_parameters() == 3_882_793 == 192 * (48 * 25 + 1) + 11 * 192 * (192 * 9 + 1) + 192 + 361
    assert net.predict(np.zeros((1, 48, 19, 19), np.float32)).shape == (1, 361)


@pytest.mark.parametrize(("arguments", "error"), [
    ({"size": 0}, ValueError), ({"depth": 1}, ValueError), ({"filters": 0}, ValueError), ({"planes": 0}, ValueError),
    ({"size": 9.5}, TypeError),
])
def test_boards_and_depths_that_cannot_be_are_refused(arguments, error):
    with pytest.raises(error):
        models.go(**arguments)


@pytest.fixture(scope="module")
def games():
    pytest.importorskip("sgfmill")
    return go_games(GAMES)


def test_it_learns_games(games):
    (x, y), test = games
    net = models.go(filters=24, depth=4)
    history = net.fit(x, y, optimizer=pycnn.Adam(0.003), epochs=6, batch_size=32, augment=augment.BoardSymmetries(),
                      validation_data=test, verbose=0)
    assert history["loss"][0] < math.log(81) + 0.1 and history["loss"][-1] < history["loss"][0] - 0.7
    assert history["val_accuracy"][-1] > 5 / 81


def test_the_likeliest_move_is_always_legal():
    stones = np.stack([legal_board(7, i) for i in range(100)])
    x = go_planes(stones)
    net = models.go(7, filters=4, depth=3)
    legal = x[:, -1].reshape(100, 49)
    plain = legal[np.arange(100), net.predict(x).argmax(1)]
    assert not plain.all()              # there is something to be ruled out
    for symmetries in (False, True):
        p = models.move_probabilities(net, x, symmetries=symmetries).reshape(100, 49)
        assert (p[legal == 0] == 0).all() and (p >= 0).all()
        np.testing.assert_allclose(p.sum(1), legal.any(1), rtol=1e-12)
        moves = models.best_moves(net, x, symmetries=symmetries)
        assert (legal[np.arange(100), moves][moves >= 0] == 1).all()
        np.testing.assert_array_equal(moves == -1, ~legal.any(1))


def test_probabilities_are_the_softmax_of_the_scores_of_legal_moves():
    x = go_planes(board("X O . \n . X . \n O . ."))
    net = models.go(3, filters=4, depth=2)
    legal, scores = x[0, -1].ravel() == 1, net.predict(x)[0].astype(np.float64)
    expected = np.where(legal, np.exp(scores), 0)
    np.testing.assert_allclose(models.move_probabilities(net, x).ravel(), expected / expected.sum(), rtol=1e-6)
    only = np.zeros((1, 3, 3), bool)
    only[0, 1, 2] = True
    assert models.best_moves(net, x, legal=only).tolist() == [5]
    assert models.best_moves(net, x, legal=np.zeros((1, 3, 3), bool)).tolist() == [-1]


def test_averaged_over_the_symmetries_a_turned_board_gets_the_turned_answer():
    x = go_planes(np.stack([legal_board(5, i) for i in range(10)]))
    net = models.go(5, filters=6, depth=3)
    there = models.move_probabilities(net, x, symmetries=True)
    plain = models.move_probabilities(net, x)
    for turn in (lambda a: np.rot90(a, 1, (-2, -1)), lambda a: np.swapaxes(a, -2, -1), lambda a: np.flip(a, -1)):
        turned = np.ascontiguousarray(turn(x))
        answer = models.move_probabilities(net, turned, symmetries=True)
        np.testing.assert_allclose(answer, turn(there), rtol=1e-5, atol=1e-7)
    assert not np.allclose(models.move_probabilities(net, turned), turn(plain), rtol=1e-2)


# ---- the task and the picture ----------------------------------------------------------------------------------------


def test_shares_count_the_moves_among_the_first():
    from pycnn.models.go import top_share

    scores = np.array([[3, 2, 1, 0], [3, 2, 1, 0], [3, 2, 1, 0], [0, 1, 2, 3]])
    points = np.array([0, 1, 3, 3])
    assert [top_share(scores, points, count) for count in (1, 2, 3, 4)] == [0.5, 0.75, 0.75, 1.0]


def test_a_board_is_drawn_with_stones_probabilities_and_the_move_played():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    from pycnn.models.go_figure import PLAYED, draw_board, point_name, star_points

    assert [point_name(p, 9) for p in (0, 8, 72, 80)] == ["A9", "J9", "A1", "J1"]
    assert {size: len(star_points(size)) for size in (5, 7, 8, 9, 13, 19)} == {5: 0, 7: 5, 8: 4, 9: 5, 13: 5, 19: 9}
    stones, chances = np.zeros((9, 9), int), np.zeros((9, 9))
    stones[2, 3], stones[4, 4], chances[5, 6], chances[0, 0] = 1, -1, 0.62, 0.01
    axes = Figure().subplots()
    draw_board(axes, stones, chances, played=5 * 9 + 6, last=4 * 9 + 4, title="a position")
    assert axes.get_title() == "a position" and "62" in [t.get_text() for t in axes.texts]
    rings = [p for p in axes.patches if isinstance(p, Circle) and not p.get_fill()]
    assert [r.center for r in rings] == [(4, 4), (6, 5)]
    from matplotlib.colors import same_color
    assert same_color(rings[1].get_edgecolor(), PLAYED)


def test_the_picture_shows_curves_and_six_boards(games, tmp_path):
    pytest.importorskip("matplotlib")
    from pycnn.models.go_figure import go_figure

    net = models.go(filters=4, depth=2)
    history = History({"loss": [4.0, 3.5], "accuracy": [0.02, 0.1]}, epoch=[1, 2])
    figure = go_figure(net, history, *games[1], title="moves")
    boards = [axes for axes in figure.axes if axes.get_title().startswith("played")]
    assert len(boards) == 6 and len(figure.axes) == 8 and figure.get_suptitle() == "moves"
    figure.savefig(tmp_path / "go.png")


def test_the_command_trains_it_on_a_folder_of_games(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sgfmill")
    arguments = ["train", "go", "--data-dir", str(GAMES), "--epochs", "1", "--samples", "200", "--out", str(tmp_path),
                 "--verbose", "1"]
    assert cli.main(arguments) == 0
    assert "top-1" in capsys.readouterr().out
    assert {f.name for f in tmp_path.iterdir()} == {"go.safetensors", "go.png"}
    assert cli.main(["evaluate", str(tmp_path / "go.safetensors"), "--data-dir", str(GAMES)]) == 0
    assert "averaged over 8 symmetries" in capsys.readouterr().out
    assert cli.main(["train", "go", "--data-dir", str(tmp_path / "missing"), "--out", str(tmp_path)]) == 2
