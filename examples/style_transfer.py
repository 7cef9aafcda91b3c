"""A cat and an astronaut in the style of stained tissue, by random filters: no network was trained for it.

Leaves style_transfer.png: both, and on the left what they were made of. Needs scipy and scikit-image.

    python style_transfer.py [--quick]
"""

import sys
import time

import numpy as np
from PIL import Image
from skimage import data
from skimage.transform import resize

from pycnn.visualize import style_transfer

quick = "--quick" in sys.argv
size, steps = (64, 20) if quick else (512, 100)


def square(photograph, side):
    """The middle of a photograph, side x side pixels: (3, side, side) in [0, 1]."""
    rows, columns = photograph.shape[:2]
    short = min(rows, columns)
    top, left = (rows - short) // 2, (columns - short) // 2
    middle = resize(photograph[top : top + short, left : left + short], (side, side), anti_aliasing=True)
    return np.clip(middle, 0, 1).transpose(2, 0, 1)


style = data.immunohistochemistry()
results, sources = [], [square(style, size // 2)]
for name in ("chelsea", "astronaut"):
    photograph, told = getattr(data, name)(), []
    begin = time.perf_counter()
    results.append(style_transfer(square(photograph, size), square(style, size), steps=steps,
                                  callback=lambda step, losses, told=told: told.append(losses["loss"])))
    seconds = time.perf_counter() - begin
    sources.append(square(photograph, size // 2))
    print(f"{name}: {seconds:.0f} s, the loss fell by {1 - told[-1] / told[0]:.1%}")

tiles = [np.concatenate(sources[:2], axis=1), *results]
pixels = (np.concatenate(tiles, axis=2).transpose(1, 2, 0) * 255).round().astype(np.uint8)
Image.fromarray(pixels).quantize(128).save("style_transfer.png")      # 128 colours, for a small file
