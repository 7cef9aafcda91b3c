"""Pictures and arrays as inputs of a network."""

from __future__ import annotations

import importlib.util
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from .files import InputError


def read_images(path, shape):
    """The images of a file as a network takes them.

    Light images of one channel (those with a light border) are inverted: the digits are white on black.

    Parameters
    ----------
    path : str
        PNG, JPEG and whatever else pillow reads; ``.npy``, or ``.npz`` with one or several arrays.
    shape : tuple of int
        The network's input, ``(C, H, W)``. Arrays of that shape, or ``(N, *shape)``, need no conversion.

    Returns
    -------
    images : array (N, *shape), float32 in [0, 1]
    inverted : list of bool
    """
    try:
        if path.lower().endswith((".npy", ".npz")):
            images = [image for array in read_arrays(path) for image in split_array(array, shape)]
        else:
            images = [read_picture(path, shape)]
    except (OSError, ValueError, EOFError, BadZipFile, TokenError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not images:
        raise InputError(f"{path}: holds no images")
    inverted = [len(shape) == 3 and shape[0] == 1 and is_light(image) for image in images]
    images = [fitted(1 - image if flip else image, shape) for image, flip in zip(images, inverted)]
    return np.stack(images).astype(np.float32), inverted


def read_arrays(path):
    """The arrays of a .npy or .npz file; integers of 8 bits as fractions of 255."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        arrays = [loaded]
    else:
        with loaded:
            arrays = [loaded[key] for key in loaded.files]
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise ValueError(f"holds {array.dtype}, not numbers")
    return [array / 255 if array.dtype == np.uint8 else array.astype(np.float64) for array in arrays]


def split_array(array, shape):
    """The single inputs of an array of one or many; ValueError if it is neither."""
    if array.shape == shape:
        return [array]
    if array.shape[1:] == shape:
        return list(array)
    if len(shape) == 3 and shape[0] == 1:
        if array.ndim == 2:
            return [array[None]]
        if array.ndim == 3 and array.shape[1:] == shape[1:]:
            return list(array[:, None])
    raise ValueError(f"has shape {array.shape}; the network takes {shape}, or (N, {', '.join(map(str, shape))})")


def read_picture(path, shape):
    """An image file as an array (C, H, W) in [0, 1], in its own size; transparent parts as white."""
    need_pillow()
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"the network takes {shape}, which a picture cannot be made into; pass a .npy file")
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):
                return np.repeat(np.asarray(picture, np.float64)[None] / 65535, shape[0], axis=0)
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"), np.float64) / 255
    except UnidentifiedImageError:
        raise ValueError("not a picture that pillow can read") from None
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)


def need_pillow():
    """ImportError with the remedy, where pillow is missing."""
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("pictures need pillow: pip install pycnn[plot]")


def is_light(image):
    """Whether the border of an image (1, H, W) in [0, 1] is light."""
    pixels = image[0]
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(pixels.min() >= 0 and pixels.max() <= 1 and border.mean() > 0.5)


def fitted(image, shape):
    """The image in the network's size: made to its proportions with black, then resized."""
    if image.shape == shape:
        return image
    need_pillow()
    from PIL import Image

    height, width = image.shape[1:]
    scale = max(height / shape[1], width / shape[2])
    tall, wide = round(scale * shape[1]), round(scale * shape[2])
    top, left = (tall - height) // 2, (wide - width) // 2
    image = np.pad(image, ((0, 0), (top, tall - height - top), (left, wide - width - left)))
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in image]
    return np.stack([np.asarray(plane.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)) for plane in planes])
