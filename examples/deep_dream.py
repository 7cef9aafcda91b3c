"""A network learns to tell photographs apart by patches of them, and then dreams: of coffee, and of a cat.

Leaves deep_dream.png: both, as the network sees them. Needs scikit-image.

    python deep_dream.py [--quick]
"""

import sys
import time

import numpy as np
from PIL import Image
from skimage import data
from skimage.transform import resize

from pycnn.visualize import deep_dream, patch_network

quick = "--quick" in sys.argv
size = 64 if quick else 512

begin = time.perf_counter()
net = patch_network(patches=12, epochs=1) if quick else patch_network()
print(f"trained in {time.perf_counter() - begin:.0f} s")

dreams = []
for name, layer in (("coffee", "norm5"), ("chelsea", "norm4")):
    photograph = getattr(data, name)()
    rows, columns = photograph.shape[:2]
    wide = round(size * columns / rows / 2) * 2
    image = np.clip(resize(photograph, (size, wide), anti_aliasing=True), 0, 1).transpose(2, 0, 1)
    begin = time.perf_counter()
    dream = deep_dream(net, image, layer)
    print(f"{name}: dreamt in {time.perf_counter() - begin:.0f} s")
    dreams.append(dream[:, :, (wide - size) // 2 : (wide + size) // 2])

pixels = (np.concatenate(dreams, axis=2).transpose(1, 2, 0) * 255).round().astype(np.uint8)
Image.fromarray(pixels).quantize(256).save("deep_dream.png")          # 256 colours, for a small file
