"""A directed acyclic graph of boxes laid out in layers, top to bottom: ranks by longest path, order within them by
barycentres, then places (Sugiyama, Tagawa and Toda 1981, "Methods for visual understanding of hierarchical system
structures")."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from itertools import accumulate

ACROSS, DOWN = 26, 40       # gaps between boxes of a rank, and between ranks
LANE = 14                   # width of what an edge needs where it passes boxes
PORTS = 20                  # greatest distance of edges that enter a box
SWEEPS = 24


@dataclass
class Layout:
    """Where boxes and edges are.

    Attributes
    ----------
    boxes : list of (left, top, width, height)
    routes : list of list of (x, y)
        For each edge the points that it passes, from the lower edge of a box to the upper edge of another. Between two
        points one above the other it is straight, else a curve that is vertical at both.
    width, height : float
    """

    boxes: list
    routes: list
    width: float
    height: float


def layered(sizes, edges):
    """The layout of boxes of these sizes.

    Parameters
    ----------
    sizes : list of (width, height)
    edges : list of (source, target)
        Numbers of boxes, each source less than its target.

    Returns
    -------
    Layout
        No boxes overlap, and no edge passes through one.
    """
    rank = ranks(len(sizes), edges)
    widths, chains, lanes = [width for width, _ in sizes], [], {}
    for source, target in edges:                # an edge over several ranks passes a lane in each between
        passed = [(source, r) for r in range(rank[source] + 1, rank[target])]
        for lane in passed:                     # which it shares with other edges of its source
            if lane not in lanes:
                lanes[lane] = len(widths)
                widths.append(LANE)
                rank.append(lane[1])
        chains.append([source, *(lanes[lane] for lane in passed), target])
    links = list(dict.fromkeys(link for chain in chains for link in zip(chain, chain[1:])))
    rows = ordered_rows(rank, links)
    centres = placed(rows, widths, links, len(sizes))
    left = min((c - w / 2 for c, w in zip(centres, widths)), default=0)
    centres = [c - left for c in centres]

    heights = [max((sizes[v][1] for v in row if v < len(sizes)), default=0) for row in rows]
    tops = [sum(heights[:i]) + i * DOWN for i in range(len(rows))]
    boxes = [(c - w / 2, tops[r] + (heights[r] - h) / 2, w, h) for c, r, (w, h) in zip(centres, rank, sizes)]
    enters = entries(chains, centres, widths)
    routes = []
    for chain, x_end in zip(chains, enters):
        source, target = chain[0], chain[-1]
        x = centres[source]
        route = [(x, boxes[source][1] + boxes[source][3]), (x, tops[rank[source]] + heights[rank[source]])]
        for lane in chain[1:-1]:
            x, top = centres[lane], tops[rank[lane]]
            route += [(x, top), (x, top + heights[rank[lane]])]
        routes.append([*route, (x_end, tops[rank[target]]), (x_end, boxes[target][1])])
    width = max((c + w / 2 for c, w in zip(centres, widths)), default=0)
    return Layout(boxes, routes, width, tops[-1] + heights[-1] if rows else 0)


def ranks(count, edges):
    """The longest path to each box; one that has no sources stands right above the first that reads it."""
    rank = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        rank[target] = max(rank[target], rank[source] + 1)
    targets = {target for _, target in edges}
    for v in range(count):
        readers = [rank[target] for source, target in edges if source == v]
        if v not in targets and readers:
            rank[v] = min(readers) - 1
    return rank


def ordered_rows(rank, links):
    """The members of each rank from left to right: sweeps down and up, each ordering a rank by the mean place of the
    neighbours in the last one; the order of fewest crossings is kept."""
    rows = [[] for _ in range(max(rank, default=-1) + 1)]
    for v, r in enumerate(rank):
        rows[r].append(v)
    above, below = neighbours(len(rank), links)
    best, fewest = [list(row) for row in rows], crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        beside = above if down else below
        place = {v: i for row in rows for i, v in enumerate(row)}
        for row in rows if down else rows[::-1]:
            row.sort(key=lambda v: sum(place[u] for u in beside[v]) / len(beside[v]) if beside[v] else place[v])
            place.update((v, i) for i, v in enumerate(row))
        count = crossings(rows, below)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    return best


def neighbours(count, links):
    """(those above, those below) each member."""
    above, below = [[] for _ in range(count)], [[] for _ in range(count)]
    for source, target in links:
        below[source].append(target)
        above[target].append(source)
    return above, below


def crossings(rows, below):
    """How many pairs of links cross."""
    total = 0
    for row, following in zip(rows, rows[1:]):
        place = {v: i for i, v in enumerate(following)}
        ends = []
        for v in row:
            new = sorted(place[u] for u in below[v])
            total += sum(len(ends) - bisect_right(ends, end) for end in new)
            for end in new:
                insort(ends, end)
    return total


def placed(rows, widths, links, boxes):
    """The middle of each member: sweeps, each putting a rank as near as its order and widths allow to the weighted
    means of its neighbours in the last one. Lanes weigh more, so that long edges are straight (Gansner et al. 1993)."""
    above, below = neighbours(len(widths), links)
    centres = [0.0] * len(widths)
    for row in rows:
        edge = -sum(widths[v] + ACROSS for v in row) / 2
        for v in row:
            centres[v] = edge + widths[v] / 2
            edge += widths[v] + ACROSS
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        beside = above if down else below
        for row in rows if down else rows[::-1]:
            wanted, sums = [], []
            for v in row:
                weights = [1 + 3 * ((v >= boxes) + (u >= boxes)) for u in beside[v]]
                sums.append(sum(weights) or 0.1)
                total = sum(w * centres[u] for w, u in zip(weights, beside[v]))
                wanted.append(total / sums[-1] if weights else centres[v])
            apart = [(widths[u] + widths[v]) / 2 + ACROSS for u, v in zip(row, row[1:])]
            for v, place in zip(row, spread(wanted, sums, apart)):
                centres[v] = place
    return centres


def spread(wanted, weights, apart):
    """Places in this order, at least so far apart, of least weighted squared distance to the wanted ones: pools of
    adjacent violators (Barlow et al. 1972)."""
    offsets = [0.0, *accumulate(apart)]
    pools = []
    for value, weight, offset in zip(wanted, weights, offsets):
        pools.append([value - offset, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, u, m), (b, v, n) = pools[-2:]
            pools[-2:] = [[(a * u + b * v) / (u + v), u + v, m + n]]
    places = [value for value, _, members in pools for _ in range(members)]
    return [place + offset for place, offset in zip(places, offsets)]


def entries(chains, centres, widths):
    """Where each edge enters its target: side by side, in the order in which they come."""
    arriving = {}
    for i, chain in enumerate(chains):
        arriving.setdefault(chain[-1], []).append((centres[chain[-2]], i))
    enters = [0.0] * len(chains)
    for target, edges in arriving.items():
        step = min(PORTS, widths[target] / (len(edges) + 1))
        for place, (_, i) in enumerate(sorted(edges)):
            enters[i] = centres[target] + (place - (len(edges) - 1) / 2) * step
    return enters
