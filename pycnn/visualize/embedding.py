"""A layer's values for many samples, as points of a plane."""

from __future__ import annotations

import numpy as np

from ..config import get_num_threads
from ..figures import picture_path, write_figure
from ..figures.scatter import scatter_figure
from ..layers.base import number_within
from ..shapes import integer
from ..view import View
from .scores import checked_samples

METHODS = ("pca", "tsne")


def embedding(net, x, layer, labels=None, method="pca", *, names=None, perplexity=30.0, seed=0, batch_size=256,
              save=None):
    """What a layer makes of samples, as points of a plane: samples that are alike to it lie together.

    Parameters
    ----------
    net : Network
    x : array, list or dict of array
        Each ``(N, *shape)``, N at least 3.
    layer : str
        Its values at all positions together are what is shown of a sample.
    labels : array of int (N,), optional
        Colours of the picture.
    method : {"pca", "tsne"}
        The two directions in which values differ most; or t-SNE (van der Maaten and Hinton 2008), which keeps neighbours
        together and takes time: some seconds for a thousand samples.
    names : list of str, optional
        Of the labels, for the picture.
    perplexity : float
        Of t-SNE: about how many neighbours a sample has. At most (N - 1) / 3 is used.
    seed : int
    batch_size : int
        Samples at a time.
    save : str or path, optional
        A PNG file to be written.

    Returns
    -------
    array (N, 2)
        With PCA in the scale of the layer's values, their mean at (0, 0); with t-SNE the scale has no meaning.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit the network.
    ImportError
        When scikit-learn is missing (the extra ``[sklearn]``).
    """
    path = picture_path(save)
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, got {method!r}")
    perplexity, seed = number_within(perplexity, "perplexity"), integer(seed, "seed", 0)
    net.graph.find(layer)
    view = View(net, layer)
    given, single = checked_samples(net, x)
    count = len(next(iter(given.values())))
    if single or count < 3:
        raise ValueError(f"an embedding needs three samples at least, got {1 if single else count}")
    if labels is not None:
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu" or labels.shape != (count,):
            raise ValueError(f"labels are integers ({count},), one for each sample; got {labels.dtype} {labels.shape}")
        if labels.min() < 0:
            raise ValueError(f"labels are numbers from 0, got {labels.min()}")
        if names is not None and len(names) <= labels.max():
            raise ValueError(f"names are one for each label, got {len(names)} for labels to {labels.max()}")
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ImportError("embedding needs scikit-learn: pip install pycnn[sklearn]") from None
    values = view(given, batch_size)[layer].reshape(count, -1).astype(np.float64)
    values -= values.mean(axis=0)
    spread = values.std()
    if not 0 < spread < np.inf:
        raise ValueError(f"{layer}: there is no view of samples whose values there are all alike, or not finite")
    parts = min(2, values.shape[1])
    with threadpool_limits(get_num_threads()):
        if method == "pca":
            points = np.pad(PCA(parts, random_state=seed).fit_transform(values), ((0, 0), (0, 2 - parts)))
        else:
            points = TSNE(perplexity=min(perplexity, (count - 1) / 3), init="pca" if parts == 2 else "random",
                          random_state=seed).fit_transform((values / spread).astype(np.float32))
    title = f"{layer} of {count:,} samples, by {'PCA' if method == 'pca' else 't-SNE'}"
    write_figure(path, lambda: scatter_figure(points, labels, names, title))
    return points
