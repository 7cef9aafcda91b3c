"""ResNet-18, VGG-16 and MobileNet: their sizes, their first steps on small images, and the same networks in PyTorch."""

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn import models
from pycnn.models.small_images import SmallImages, padded

SMALL = {"classes": 10, "shape": (1, 32, 32)}
BUILDERS = {
    "mobilenet": lambda: models.mobilenet(0.25, **SMALL),
    "resnet18": lambda: models.resnet18(**SMALL),
    "vgg16": lambda: models.vgg16(**SMALL, dropout=0.0),
}


def test_vgg16_has_the_parameters_of_its_paper():
    assert models.vgg16().count_parameters() == 138_357_544


@pytest.mark.parametrize("width, count", [(1.0, 4_231_976), (0.75, 2_585_560), (0.5, 1_331_592), (0.25, 470_072)])
def test_mobilenet_has_the_parameters_of_its_paper_at_every_width(width, count):
    net = models.mobilenet(width)
    assert net.count_parameters() == net.count_parameters(trainable=True) == count
    assert net.output_shapes == {"output": (1000,)}


@pytest.mark.parametrize("build, count", [(models.resnet18, 11_175_370), (models.vgg16, 33_637_066),
                                          (models.mobilenet, 3_216_650)])
def test_the_networks_take_small_images_of_one_channel(build, count):
    net = build(**SMALL)
    assert net.count_parameters() == count and net.output_shapes == {"output": (10,)}


def test_the_dense_head_of_vgg16_follows_the_size_of_its_input():
    sizes = {side: models.vgg16(classes=2, shape=(1, *side))["hidden1"].weight.shape for side in ((32, 32), (32, 80))}
    assert sizes == {(32, 32): (4096, 512), (32, 80): (4096, 1024)}


@pytest.mark.parametrize("make, error", [
    (lambda: models.vgg16(shape=(3, 32, 31)), r"vgg16: images are \(C, H, W\) with H and W at least 32, got \(3, 32, 31\)"),
    (lambda: models.vgg16(shape=(3, 64)), r"vgg16: images are \(C, H, W\)"),
    (lambda: models.mobilenet(0), "mobilenet: width must leave at least one of 32 maps, got 0"),
    (lambda: models.mobilenet(0.01), "mobilenet: width must leave at least one of 32 maps, got 0.01"),
])
def test_what_cannot_be_built_is_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()


@pytest.mark.parametrize("name, samples, steps", [("mobilenet", 32, 30), ("resnet18", 32, 8), ("vgg16", 16, 10)])
def test_the_loss_falls_in_the_first_steps(name, samples, steps):
    (x, y), _ = pycnn.datasets.digits()
    recipe, each = models.MODELS[name].recipes["digits"], len(x) // samples
    history = BUILDERS[name]().fit(padded(x[::each]), y[::each], optimizer=recipe.optimizer(recipe.lr), epochs=steps,
                                   batch_size=len(x[::each]), verbose=0)
    assert min(history["loss"][-2:]) < 0.6 * history["loss"][0]


def test_the_task_pads_a_part_of_the_images_and_draws_what_was_learned():
    pytest.importorskip("matplotlib")
    (x, y), (x_test, y_test) = pycnn.datasets.digits()
    task = models.MODELS["mobilenet"].task
    assert isinstance(task, SmallImages) and task.build_options(x, y) == {"shape": (1, 32, 32), "classes": 10}
    images, labels = task.training_data(x[:50], y[:50])
    assert images.shape == (50, 1, 32, 32) and images.dtype == x.dtype and (labels == y[:50]).all()
    assert (images[:, :, 2:30, 2:30] == x[:50]).all() and images.sum() == pytest.approx(x[:50].sum(), rel=1e-5)
    net = BUILDERS["mobilenet"]()
    history = net.fit(images, labels, epochs=2, batch_size=25, verbose=0)
    scores = task.scores(net, x_test[:40], y_test[:40])
    assert 0 <= scores["accuracy"] <= 1
    figure = task.figure(net, history, x_test[:40], y_test[:40], data="digits", title="a title")
    assert figure.get_suptitle() == "a title"


def sequence_of(net, torch):
    """The same network in PyTorch, and its modules with parameters by the names of the layers."""
    kinds = {
        L.Conv: lambda c: torch.nn.Conv2d(c.weight.shape[1] * c.groups, c.filters, c.kernel_size, c.stride, c.padding,
                                          groups=c.groups, bias=c.has_bias),
        L.BatchNorm: lambda n: torch.nn.BatchNorm2d(len(n.weight)), L.Dense: lambda d: torch.nn.Linear(*d.weight.shape[::-1]),
        L.ReLU: lambda _: torch.nn.ReLU(), L.MaxPool: lambda _: torch.nn.MaxPool2d(2), L.Flatten: lambda _: torch.nn.Flatten(),
        L.GlobalAvgPool: lambda _: torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        L.Dropout: lambda _: torch.nn.Identity(),
    }
    modules, learned = [], {}
    for name, layer in net.layers.items():
        if type(layer) not in kinds:
            continue
        modules.append(kinds[type(layer)](layer))
        for kind, _ in modules[-1].named_parameters():
            learned[f"{name}/{kind}"] = parameter = getattr(modules[-1], kind)
            parameter.data = torch.from_numpy(net.parameters[f"{name}/{kind}"])
        modules += [torch.nn.ReLU()] if layer.activation else []
    return torch.nn.Sequential(*modules), learned


@pytest.mark.parametrize("build, side, batch", [(lambda **o: models.vgg16(dropout=0.0, **o), 32, 3),
                                                (lambda **o: models.mobilenet(0.25, **o), 64, 8)])
def test_loss_and_gradients_are_those_of_pytorch(build, side, batch):
    torch = pytest.importorskip("torch")
    net = build(classes=10, shape=(1, side, side))
    model, learned = sequence_of(net, torch)
    assert learned.keys() == net.parameters.keys()
    rng = np.random.default_rng(0)
    x, y = rng.random((batch, 1, side, side), dtype=np.float32), rng.integers(0, 10, batch)
    loss, gradients = net.gradients(x, y, loss="cross_entropy")
    expected = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    total = np.sqrt(sum(np.vdot(g, g) for g in gradients.values()))
    for name, parameter in learned.items():
        theirs = parameter.grad.numpy()     # that of a scale before another normalisation is next to nothing
        assert np.linalg.norm(gradients[name] - theirs) <= 1e-3 * np.linalg.norm(theirs) + 1e-6 * total, name
