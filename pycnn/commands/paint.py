"""``pycnn look dream``, ``style`` and ``texture``: pictures that a network paints."""

from __future__ import annotations

from .. import visualize
from . import files
from .arguments import whole
from .looking import ascent_arguments, picture_argument, wrote
from .pictures import read_picture


def add_to(look):
    """Declares the commands."""
    sub = look("dream", dream, "change a picture until it shows more of what maps of a layer look for")
    sub.add_argument("image", metavar="IMAGE", help="PNG or JPEG")
    model_argument(sub)
    sub.add_argument("--layer", metavar="LAYER", help="of the model (default: the finest random filters)")
    sub.add_argument("--maps", type=whole(0), nargs="+", metavar="N", help="which maps (default: all)")
    sub.add_argument("--factor", type=float, metavar="X", help="how much more these maps count (default: only they do)")
    sub.add_argument("--octaves", type=whole(1), default=5, metavar="N", help="sizes of the picture (default: 5)")
    ascent_arguments(sub, 12, "12 at each size")
    picture_argument(sub, "dream.png")
    sub = look("style", style, "paint what is on one picture in the style of another")
    sub.add_argument("content", metavar="CONTENT", help="PNG or JPEG")
    sub.add_argument("style", metavar="STYLE", help="PNG or JPEG")
    model_argument(sub)
    painting_arguments(sub)
    sub.add_argument("--content-layers", nargs="+", metavar="LAYER", help="of the model")
    sub.add_argument("--content-weight", type=float, metavar="X", help="how much the content counts")
    picture_argument(sub, "style.png")
    sub = look("texture", texture, "make more of what a picture is made of")
    sub.add_argument("style", metavar="PICTURE", help="PNG or JPEG")
    model_argument(sub)
    painting_arguments(sub)
    sub.add_argument("--size", type=whole(1), nargs=2, metavar=("H", "W"), help="of the result (default: as PICTURE)")
    picture_argument(sub, "texture.png")


def model_argument(sub):
    sub.add_argument("--model", metavar="FILE", help="the network to look with (default: random filters)")


def painting_arguments(sub):
    """Those of style and texture."""
    sub.add_argument("--style-layers", nargs="+", metavar="LAYER", help="of the model")
    sub.add_argument("--optimizer", choices=("lbfgs", "adam"), default="lbfgs", help="L-BFGS by default")
    ascent_arguments(sub, 100)


def dream(args):
    """A dream of an image."""
    image = read_colours(args.image)
    if args.model is None:
        net = visualize.random_filters(image.shape, seed=args.seed)
        layer = args.layer or net.output_names[0]
    elif args.layer is None:
        raise files.InputError(f"--layer: name one of {args.model}, as `pycnn summary` shows them")
    else:
        net, layer = files.load_network(args.model), args.layer
    return wrote_picture(args, visualize.deep_dream(
        net, image, layer, args.maps, factor=args.factor, octaves=args.octaves, steps=args.steps, seed=args.seed,
        verbose=min(args.verbose, 1), save=args.out))


def style(args):
    """One image in the style of another."""
    weight = {} if args.content_weight is None else {"content_weight": args.content_weight}
    content, of = read_colours(args.content), read_colours(args.style)
    net = files.load_network(args.model) if args.model else None
    painted = visualize.style_transfer(content, of, net, content_layers=args.content_layers, **weight, **painting(args))
    return wrote_picture(args, painted)


def texture(args):
    """More of an image."""
    of = read_colours(args.style)
    net = files.load_network(args.model) if args.model else None
    return wrote_picture(args, visualize.texture(of, net, shape=args.size, **painting(args)))


def painting(args):
    """What style and texture pass on."""
    return {"style_layers": args.style_layers, "optimizer": args.optimizer, "steps": args.steps, "seed": args.seed,
            "verbose": min(args.verbose, 1), "save": args.out}


def read_colours(path):
    """A picture ``(3, H, W)`` in its own size; InputError where there is none."""
    try:
        return read_picture(path, (3, 0, 0))
    except (OSError, ValueError) as error:
        raise files.InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def wrote_picture(args, image):
    height, width = image.shape[1:]
    model = {"model": args.model} if args.model else {}
    return wrote(args, f"{width} x {height} pixels", **model, shape=list(image.shape))
