"""A small convolutional autoencoder of 28x28 images: 784 values through 4 maps of 7x7, and back."""

from .. import layers as L
from ..graph import Input
from ..network import Network


def autoencoder(shape=(1, 28, 28), seed=0):
    """Two convolutions with pooling, then two transposed convolutions that undo both.

    The transposed kernels are 2x2 with stride 2: their copies do not overlap, and leave no checkerboard.

    Parameters
    ----------
    shape : tuple of int
        ``(C, H, W)`` of the images, with H and W multiples of 4 and values in [0, 1]; the output has the same.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers encode1, pool1, encode2, pool2, decode1 and decode2. Train it with its input as target.

    Raises
    ------
    ValueError
        If H or W is not a multiple of 4.

    Examples
    --------
    >>> from pycnn.models import autoencoder
    >>> autoencoder().count_parameters()
    1077
    """
    image = Input(shape, name="image")
    if len(image.shape) != 3 or any(side % 4 for side in image.shape[1:]):
        raise ValueError(f"autoencoder: images are (C, H, W) with H and W multiples of 4, got {shape}")
    h = L.MaxPool(2, name="pool1")(L.Conv(16, 3, padding=1, activation="relu", name="encode1")(image))
    h = L.MaxPool(2, name="pool2")(L.Conv(4, 3, padding=1, activation="relu", name="encode2")(h))
    h = L.ConvTranspose(16, 2, stride=2, activation="relu", name="decode1")(h)
    h = L.ConvTranspose(image.shape[0], 2, stride=2, activation="sigmoid", name="decode2")(h)
    return Network(image, h, name="autoencoder", seed=seed)
