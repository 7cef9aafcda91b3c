"""pycnn: convolutional networks on the CPU, from NumPy arrays, at the speed of the machine."""

import importlib

try:
    from . import _kernels  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"pycnn's compiled kernels are not beside {__file__}: this is a source folder. "
        "Start Python in another folder, or build them here with: pip install -e ."
    ) from error

from . import (
    callbacks,
    config,
    datasets,
    functional,
    initializers,
    layers,
    losses,
    models,
    optimizers,
    reference,
    training,
    visualize,
)
from .config import get_num_threads, get_winograd, set_num_threads, set_winograd, show_config
from .graph import Input
from .layers import Layer
from .network import Network, load
from .optimizers import SDLM, SGD, Adam, AdamW, RMSprop
from .view import View
from .visualize.architecture import notebook_view

Network.fit = training.fit
Network.evaluate = training.evaluate
Network.train_on_batch = training.train_on_batch
Network._repr_html_ = notebook_view

__version__ = config.version()


def __getattr__(name):
    """`pycnn.onnx` is imported when first asked for."""
    if name == "onnx":
        return importlib.import_module(".onnx", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Adam", "AdamW", "Input", "Layer", "Network", "RMSprop", "SDLM", "SGD", "View", "callbacks", "datasets",
    "functional", "get_num_threads", "get_winograd", "initializers", "layers", "load", "losses", "models", "optimizers",
    "reference", "set_num_threads", "set_winograd", "show_config", "training", "visualize",
]
