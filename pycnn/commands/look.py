"""``pycnn look``: pictures of what is in a network."""

from __future__ import annotations

from .. import visualize
from . import ascend, attribute, files, paint
from .arguments import data_arguments, whole
from .looking import layer_argument, network_argument, only_shape, picture_argument, read_inputs, wrote


def add_to(command):
    """Declares the commands."""
    look = command.group("look", "what", "draw what is in a network, and what it makes of images")
    sub = look("architecture", architecture, "draw the graph of a network, as .svg or .png")
    network_argument(sub)
    picture_argument(sub, "architecture.svg", ".svg", ".png")
    sub = look("maps", maps, "draw what each map of a layer answers to an image")
    network_argument(sub)
    layer_argument(sub)
    sub.add_argument("image", metavar="IMAGE", help="PNG, JPEG, .npy or .npz")
    picture_argument(sub, "maps.png")
    sub = look("filters", filters, "draw the weights of a layer")
    network_argument(sub)
    layer_argument(sub)
    picture_argument(sub, "filters.png")
    sub = look("embedding", embedding, "draw what a layer makes of test images, as points of a plane", data_arguments())
    network_argument(sub)
    layer_argument(sub)
    sub.add_argument("--method", choices=("pca", "tsne"), default="pca", help="principal components (default) or t-SNE")
    sub.add_argument("--samples", type=whole(3), default=1000, metavar="N", help="images (default: 1000)")
    sub.add_argument("--seed", type=whole(0), default=0, metavar="N", help="for what is random of it (default: 0)")
    picture_argument(sub, "embedding.png")
    for family in (ascend, attribute, paint):
        family.add_to(look)


def architecture(args):
    """The graph."""
    net = files.load_network(args.file)
    visualize.architecture(net, save=args.out)
    layers, parameters = len(net.layers), net.count_parameters()
    return wrote(args, f"{layers} layers, {parameters:,} parameters", layers=layers, parameters=parameters)


def maps(args):
    """The values of a layer for one image."""
    net = files.load_network(args.file)
    x = read_inputs(net, args.file, [args.image])
    values = visualize.feature_maps(net, x[:1], args.layer, save=args.out)[0]
    return wrote_layer(args, values)


def filters(args):
    """The weights of a layer."""
    return wrote_layer(args, visualize.filters(files.load_network(args.file), args.layer, save=args.out))


def wrote_layer(args, array):
    shape = list(array.shape)
    return wrote(args, f"{args.layer}, {' x '.join(map(str, shape))}", layer=args.layer, shape=shape)


def embedding(args):
    """Test images as points."""
    net = files.load_network(args.file)
    data = files.data_of(args, net)
    x, y = files.load_data(data, args.data_dir)[1]
    x, y = x[: args.samples], y[: args.samples]
    if only_shape(net, args.file) != x.shape[1:]:
        raise files.InputError(f"{args.file}: takes {only_shape(net, args.file)}; the {data} are {x.shape[1:]}")
    visualize.embedding(net, x, args.layer, y if y.ndim == 1 else None, args.method, names=files.class_names(data),
                        seed=args.seed, save=args.out)
    return wrote(args, f"{args.layer}, {len(x):,} samples of {data}", layer=args.layer, data=data, samples=len(x))
