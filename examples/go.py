"""Where will a Go player move? GNU Go plays itself, a network without pooling learns its moves, and games that were
held back are followed move by move. Prints how often the move was foreseen, and leaves a picture of four positions.

    python go.py [--quick]

Needs gnugo (apt install gnugo) and sgfmill (pip install pycnn[go]).
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

import pycnn
from pycnn import layers as L
from pycnn.datasets.augment import BoardSymmetries
from pycnn.models import best_moves, move_probabilities
from pycnn.models.go_figure import draw_position

quick = "--quick" in sys.argv
(x, y), (x_test, y_test) = pycnn.datasets.go_games(games=10 if quick else 1000)     # kept for the next time
print(f"{len(y):,} positions for training, {len(y_test):,} of other games")

board = pycnn.Input(x.shape[1:], name="position")       # 25 planes: stones, liberties, captures, legal moves ...
h = L.Conv(48, 5, padding=2, activation="relu", weight_init="he_normal")(board)
for _ in range(1 if quick else 4):
    h = L.Conv(48, 3, padding=1, activation="relu", weight_init="he_normal")(h)
h = L.Bias()(L.Conv(1, 1, bias=False)(h))               # a score for each point, and what the point is worth by itself
net = pycnn.Network(board, L.Flatten()(h), name="go")

epochs = 2 if quick else 6
net.fit(
    x, y, optimizer=pycnn.AdamW(0.002, weight_decay=0.05), epochs=epochs, batch_size=128,
    callbacks=[pycnn.callbacks.CosineDecay(epochs)], augment=BoardSymmetries(), validation_data=(x_test, y_test),
)
moves = best_moves(net, x_test, symmetries=True)        # the mean of eight looks at the board
print(f"{np.mean(moves == y_test):.1%} of the moves foreseen")
assert x_test[:, -1].reshape(len(moves), -1)[np.arange(len(moves)), moves].all()    # and every one of them is legal

figure, axes = plt.subplots(1, 4, figsize=(14, 3.9), layout="constrained")
for axis, i in zip(axes, (6, 14, 22, 30)):              # moves of the first of those games
    draw_position(axis, x_test[i], move_probabilities(net, x_test[i : i + 1])[0], y_test[i])
figure.savefig("go.png", dpi=100)
