"""``pycnn look saliency`` and the other attributions: what in an image made a network answer as it did."""

from __future__ import annotations

from .. import visualize
from . import files
from .arguments import whole
from .looking import images, network_argument, picture_argument, read_inputs, wrote

METHODS = {             # command: (function, what it draws, its own arguments)
    "saliency": (visualize.saliency, "by the gradient", ("smooth",)),
    "guided": (visualize.guided_backprop, "by guided backpropagation", ()),
    "deconvnet": (visualize.deconvnet, "by a deconvnet", ()),
    "grad-cam": (visualize.grad_cam, "by Grad-CAM", ("layer",)),
    "integrated": (visualize.integrated_gradients, "by integrated gradients", ("steps",)),
    "occlusion": (visualize.occlusion, "by hiding one place after the other", ("patch", "stride")),
}
ARGUMENTS = {
    "smooth": (whole(0), "N", "mean over N noisy copies (default: 0, the image itself)"),
    "layer": (str, "LAYER", "whose maps are looked at (default: the last with positions)"),
    "steps": (whole(1), "N", "on the way from black to the image (default: 64)"),
    "patch": (whole(1), "N", "side of what hides a place, in pixels"),
    "stride": (whole(1), "N", "pixels from one place to the next"),
}


def add_to(look):
    """Declares the commands."""
    for name, (_, how, own) in METHODS.items():
        sub = look(name, attribute, f"draw which pixels made a network answer as it did, {how}")
        network_argument(sub)
        sub.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, .npy or .npz")
        sub.add_argument("--target", type=whole(0), metavar="N", help="the class to explain (default: the answer)")
        for argument in own:
            kind, metavar, help = ARGUMENTS[argument]
            sub.add_argument(f"--{argument}", type=kind, metavar=metavar, help=help)
        picture_argument(sub, f"{name}.png")


def attribute(args):
    """Images above their attributions."""
    method, _, own = METHODS[args.what]
    net = files.load_network(args.file)
    x = read_inputs(net, args.file, args.images)
    given = {name: getattr(args, name) for name in own if getattr(args, name) is not None}
    heat = method(net, x, args.target, verbose=min(args.verbose, 1), save=args.out, **given)
    return wrote(args, images(len(heat)), images=len(heat), shape=list(heat.shape))
