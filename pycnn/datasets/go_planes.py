"""Go positions as feature planes, after Maddison et al. 2014 (arXiv:1412.6564) and Silver et al. 2016 (Nature 529,
extended data table 2).

A position is seen by the player to move: its stones are 1, the opponent's -1. Points are numbered row by row from the
top left. Sets of points are bits of 64-bit words, and all positions of a block go through each step together: chains
are labelled by their least point, and each keeps the set of its stones and of all points around them, from which
liberties, captures and the liberties after a move follow by unions, intersections and counts.
"""

import numpy as np

RECENT = 4          # latest moves that have a plane
COUNTS = ("1", "2", "3", "4 or more")
PLANES = (
    "own stones", "opponent's stones", "empty points", "board",
    "last move", *(f"{n} moves ago" for n in range(2, RECENT + 1)),
    *(f"liberties {n}" for n in COUNTS),                    # of the chain that a stone belongs to
    *(f"captures {n}" for n in COUNTS),                     # stones that a move would take
    *(f"stones in atari {n}" for n in COUNTS),              # of a chain that a move would leave with one liberty
    *(f"liberties after a move {n}" for n in COUNTS),
    "legal moves",
)
BLOCK = 1 << 13     # points of the positions that are worked on at a time
BITS = np.array([bin(i).count("1") for i in range(1 << 16)], np.uint8)     # of every 16-bit word
OFF_BOARD = 2       # the colour behind the edge


def go_planes(stones, recent=None, ko=None):
    """Feature planes of positions.

    Parameters
    ----------
    stones : array of int (N, size, size)
        1 where the player to move has a stone, -1 where the opponent has one, else 0.
    recent : array of int (N, 4), optional
        The points of the latest moves, the last one first; -1 for a pass, or where there was none.
    ko : array of int (N,), optional
        The point where a ko may not be taken back, or -1.

    Returns
    -------
    array (N, 25, size, size)
        float32, 0 or 1; `PLANES` names them. The last says which moves are legal: no suicide, and no ko taken back.

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    """
    stones = np.asarray(stones, np.int8)
    if stones.ndim != 3 or stones.shape[1] != stones.shape[2]:
        raise ValueError(f"stones must have shape (N, size, size), got {stones.shape}")
    n, size, points = len(stones), stones.shape[1], stones.shape[1] ** 2
    recent = np.full((n, RECENT), -1) if recent is None else np.asarray(recent)
    ko = np.full(n, -1) if ko is None else np.asarray(ko)
    if recent.shape != (n, RECENT) or ko.shape != (n,):
        raise ValueError(f"{n} positions need recent moves ({n}, {RECENT}) and ko points ({n},), got {recent.shape} "
                         f"and {ko.shape}")
    board, planes = Board(size), np.empty((n, len(PLANES), size, size), np.float32)
    block = max(1, BLOCK // points)
    for begin in range(0, n, block):
        part = slice(begin, begin + block)
        planes[part] = block_planes(board, stones[part].reshape(-1, points), recent[part], ko[part]).reshape(
            -1, len(PLANES), size, size)
    return planes


class Board:
    """What there is to know of an empty board.

    Attributes
    ----------
    points : int
    neighbours : array of int (points, 4)
        The number `points` stands for one that is off the board.
    point_bits, neighbour_bits : array of uint64 (points, words)
        Each point, and the neighbours of each, as a set.
    """

    def __init__(self, size):
        self.points = size**2
        padded = np.pad(np.arange(self.points).reshape(size, size), 1, constant_values=self.points)
        sides = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
        self.neighbours = np.stack([side.ravel() for side in sides], axis=1)
        words = -(-self.points // 64)
        bits = np.zeros((self.points + 1, words), np.uint64)
        at = np.arange(self.points)
        bits[at, at // 64] = np.uint64(1) << (at % 64).astype(np.uint64)
        self.point_bits = bits[:-1]
        self.neighbour_bits = np.bitwise_or.reduce(bits[self.neighbours], axis=1)

    def set_of(self, members):
        """Sets as bits, of booleans (N, points)."""
        return np.bitwise_or.reduce(np.where(members[..., None], self.point_bits, np.uint64(0)), axis=1)


def count(sets):
    """How many points are in each set."""
    return BITS[np.ascontiguousarray(sets).view(np.uint16)].sum(-1, dtype=np.int64)


class Chains:
    """The chains of stones of positions, in one table. Its last row stands for no chain.

    Attributes
    ----------
    of : array of int (N, points + 1)
        The row of the chain at each point; behind the last point, that of none.
    members, around : array of uint64 (rows, words)
        The stones of a chain, and the points next to one of them, as sets.
    sizes, liberties : array of int (rows,)
    """

    def __init__(self, board, stones, empty):
        n, points = stones.shape
        sample, point = np.nonzero(stones)
        keys = (sample * points + chain_labels(board, stones)[sample, point])
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        rows = len(starts)
        ends = np.append(starts[1:], len(order))
        self.of = np.full((n, points + 1), rows)
        self.of[sample[order], point[order]] = np.repeat(np.arange(rows), ends - starts)
        self.members, self.around = (self._unions(bits[point[order]], starts)
                                     for bits in (board.point_bits, board.neighbour_bits))
        self.sizes = np.append(ends - starts, 0)
        self.liberties = np.append(count(self.around[:-1] & empty[sample[order][starts]]), 0)

    @staticmethod
    def _unions(sets, starts):
        unions = np.bitwise_or.reduceat(sets, starts, axis=0) if len(starts) else sets
        return np.concatenate([unions, np.zeros((1, sets.shape[1]), np.uint64)])


def chain_labels(board, stones):
    """The least point of the chain that each stone belongs to, array of int (N, points)."""
    n, points = stones.shape
    colours = np.concatenate([stones, np.full((n, 1), OFF_BOARD, np.int8)], axis=1)
    joined = [colours[:, side] == stones for side in board.neighbours.T]
    labels = np.tile(np.arange(points), (n, 1))
    while True:
        padded = np.concatenate([labels, np.full((n, 1), points)], axis=1)
        least = labels
        for side, same in zip(board.neighbours.T, joined):
            least = np.minimum(least, np.where(same, padded[:, side], points))
        least = np.take_along_axis(least, least, axis=1)        # a label's own label is as near to the least
        if (least == labels).all():
            return labels
        labels = least


def block_planes(board, stones, recent, ko):
    """The planes of some positions, array (N, planes, points)."""
    n, points = stones.shape
    own, theirs, free = stones == 1, stones == -1, stones == 0
    empty = board.set_of(free)
    chains = Chains(board, stones, empty)
    liberties = chains.liberties[chains.of[:, :points]]
    captures, joined, after = moves(board, chains, own, theirs, empty)
    legal = free & (after > 0)
    blocked = np.flatnonzero(ko >= 0)
    legal[blocked, ko[blocked]] = False

    planes = np.zeros((n, len(PLANES), points), bool)
    planes[:, 0], planes[:, 1], planes[:, 2], planes[:, 3] = own, theirs, free, True
    sample, age = np.nonzero(recent >= 0)
    planes[sample, 4 + age, recent[sample, age]] = True
    of_moves = captures, np.where(after == 1, joined, 0), after
    for i, values in enumerate((liberties, *(np.where(legal, values, 0) for values in of_moves))):
        for j in range(len(COUNTS)):
            last = j + 1 == len(COUNTS)
            planes[:, 4 + RECENT + len(COUNTS) * i + j] = values > j if last else values == j + 1
    planes[:, -1] = legal
    return planes


def moves(board, chains, own, theirs, empty):
    """What a move to each point would do, if it is empty: (stones captured, stones and liberties of the new chain)."""
    n, points = own.shape
    members = np.tile(board.point_bits, (n, 1, 1))
    around = np.tile(board.neighbour_bits, (n, 1, 1))
    taken = np.zeros_like(members)
    for side in board.neighbours.T:
        row = chains.of[:, side]
        inside, at = side < points, np.minimum(side, points - 1)
        mine = np.where(own[:, at] & inside, row, len(chains.sizes) - 1)
        caught = np.where(theirs[:, at] & inside & (chains.liberties[row] == 1), row, len(chains.sizes) - 1)
        members |= chains.members[mine]
        around |= chains.around[mine]
        taken |= chains.members[caught]
    liberties = around & (empty[:, None] | taken) & ~board.point_bits
    return count(taken), count(members), count(liberties)
