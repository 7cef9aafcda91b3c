"""Looking inside a network: what its maps, neurons and outputs have learned, and what that makes of an image.

What all functions have in common:

- They are called as ``f(net, ..., save=None)`` or, where there is no network, ``f(what is looked at, ..., save=None)``.
- They work on any `pycnn.Network` and never change it: not its parameters, statistics, flags or optimizer.
- They return NumPy arrays, with the values as they were computed and not as they are shown; each says their range.
  (`architecture` returns a drawing.)
- `save` is the path of a PNG file, to which a picture of what is returned is written, by matplotlib (the extra
  ``[plot]``). The path is checked before the work begins, and the file appears whole or not at all. `pycnn.figures` has
  what draws them.
- Images are float arrays ``(C, H, W)`` with C 1 or 3, values in [0, 1] where nothing else is said; a batch of them is
  ``(N, C, H, W)``.
- A layer is named as in `net.layers`; where it is used more than once, ``"name[1]"`` is its second use.
- What draws at random takes a `seed`. What takes long shows a progress bar, unless ``verbose=0``.
- Wrong arguments raise TypeError or ValueError before any work; a package that is missing raises ImportError, which
  says how to install it.
"""

from . import regularizers
from .activations import maximize_activation
from .architecture import architecture
from .attribution import deconvnet, guided_backprop, integrated_gradients, saliency
from .attribution_figure import attribution_figure
from .classes import class_image, fool
from .confusion import confusion_matrix
from .curves import training_curves
from .dream import deep_dream
from .embedding import embedding
from .filters import filters
from .grad_cam import grad_cam
from .heat import overlay
from .images import as_image
from .maps import feature_maps
from .occlusion import occlusion
from .patches import patch_network
from .random_filters import random_filters
from .style import style_transfer, texture

__all__ = ["architecture", "as_image", "attribution_figure", "class_image", "confusion_matrix", "deconvnet", "deep_dream",
           "embedding", "feature_maps", "filters", "fool", "grad_cam", "guided_backprop", "integrated_gradients",
           "maximize_activation", "occlusion", "overlay", "patch_network", "random_filters", "regularizers", "saliency",
           "style_transfer", "texture", "training_curves"]
