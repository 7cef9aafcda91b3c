"""Images beside all their attributions."""

from __future__ import annotations

from ..figures import rows_of_images, write_figure
from ..shapes import integer
from .attribution import deconvnet, guided_backprop, integrated_gradients, saliency
from .grad_cam import grad_cam
from .heat import in_colour, overlay, shown
from .occlusion import occlusion
from .scores import Scores

METHODS = {
    "saliency": saliency, "guided_backprop": guided_backprop, "deconvnet": deconvnet, "grad_cam": grad_cam,
    "integrated_gradients": integrated_gradients, "occlusion": occlusion,
}
LABELS = {"saliency": "saliency", "guided_backprop": "guided\nbackprop", "deconvnet": "deconvnet", "grad_cam": "Grad-CAM",
          "integrated_gradients": "integrated\ngradients", "occlusion": "occlusion"}
LAID_OVER = ("grad_cam", "occlusion")      # blurred maps, whose place on the image is what one wants to see


def attribution_figure(net, x, target=None, *, methods=tuple(METHODS), class_names=None, smooth=16, layer=None,
                       output=None, input=None, verbose=1, save=None):
    """A picture of images above their attributions: a column for each image, a row for each method.

    Of one sign, heat goes from black to yellow; of both, negative is blue and positive red. Grad-CAM and occlusion are
    laid over the image.

    Parameters
    ----------
    net, x, target, output, input, verbose, save
        As in `saliency`. The input is images ``(C, H, W)``, values in [0, 1]; others are shown from their least to
        their greatest.
    methods : sequence of str
        Of saliency, guided_backprop, deconvnet, grad_cam, integrated_gradients and occlusion.
    class_names : sequence of str, optional
        What is written above the columns; by default the numbers of the classes.
    smooth : int
        Noisy copies of each image for its saliency.
    layer : str, optional
        See `grad_cam`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        When arrays or names do not fit the network.
    ImportError
        When matplotlib is missing.
    """
    methods = [methods] if isinstance(methods, str) else list(methods)
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise ValueError(f"methods are some of {', '.join(METHODS)}; got {methods}")
    common = {"output": output, "input": input, "verbose": verbose}
    own = {"saliency": {"smooth": integer(smooth, "smooth", 0)}, "grad_cam": {"layer": layer}}
    scores = Scores(net, x, target, output, input, save=save)
    scores.check_images("a figure", len(scores.x))
    names = list(map(str, range(scores.node.shape[0]))) if class_names is None else list(class_names)
    if len(names) != scores.node.shape[0]:
        raise ValueError(f"class_names has {len(names)} names, the output {scores.node.shape[0]} classes")
    rows = {"image": shown(scores.x)}
    for name in methods:
        heat = METHODS[name](net, scores.given, scores.target, **common, **own.get(name, {}))
        rows[LABELS[name]] = overlay(scores.x, heat) if name in LAID_OVER else in_colour(heat)
    figure = rows_of_images(rows, columns=[names[target] for target in scores.target])
    write_figure(scores.path, lambda: figure)
    return figure
