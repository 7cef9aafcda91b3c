"""``pycnn look maximize``, ``classes`` and ``fool``: images that a network likes, or takes for what they are not."""

from __future__ import annotations

from .. import visualize
from . import files
from .arguments import whole
from .looking import ascent_arguments, images, layer_argument, network_argument, picture_argument, read_inputs, wrote


def add_to(look):
    """Declares the commands."""
    sub = look("maximize", maximize, "draw the inputs that maps of a layer like best")
    network_argument(sub)
    layer_argument(sub)
    sub.add_argument("--maps", type=whole(0), nargs="+", metavar="N", help="which maps or units (default: all)")
    ascent_arguments(sub, 200)
    picture_argument(sub, "maximize.png")
    for name, run, help in (("classes", classes, "draw what a classifier likes best as an image of each class"),
                            ("fool", fool, "draw images that a classifier is sure of, as nobody else is")):
        sub = look(name, run, help)
        network_argument(sub)
        sub.add_argument("--target", type=whole(0), nargs="+", metavar="N", help="which classes (default: all)")
        if name == "fool":
            sub.add_argument("--start", metavar="IMAGE", help="an image to begin with (default: noise)")
        ascent_arguments(sub, 300)
        picture_argument(sub, f"{name}.png")


def maximize(args):
    """Inputs that maps like best."""
    net = files.load_network(args.file)
    made = visualize.maximize_activation(net, args.layer, args.maps, **ascent(args))
    return wrote(args, f"{args.layer}, {images(counted(made))}", layer=args.layer, images=counted(made))


def classes(args):
    """Images of classes."""
    made = visualize.class_image(files.load_network(args.file), args.target, **ascent(args))
    return wrote(args, images(counted(made)), images=counted(made))


def fool(args):
    """Images that fool."""
    net = files.load_network(args.file)
    start = read_inputs(net, args.file, [args.start])[0] if args.start else "noise"
    made = visualize.fool(net, args.target, start, **ascent(args))
    return wrote(args, images(counted(made)), images=counted(made))


def ascent(args):
    """What all of them pass on."""
    return {"steps": args.steps, "seed": args.seed, "verbose": min(args.verbose, 1), "save": args.out}


def counted(made):
    """How many images there are in an array, or in each of several by name."""
    return len(next(iter(made.values())) if isinstance(made, dict) else made)
