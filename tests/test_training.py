"""The fit loop: it learns, stops, goes on bit for bit, and refuses what cannot work."""

import json
import os
import signal

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn.callbacks import Callback, Checkpoint, CosineDecay, EarlyStopping, LambdaCallback, ReduceOnPlateau
from pycnn.training import TrainingDiverged

SIZE = 8


def stripes(count=70, seed=0):
    """Noisy images of one bright row, and the third of the image that it is in."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.3, (count, 1, SIZE, SIZE)).astype(np.float32)
    y = rng.integers(0, 3, count)
    x[np.arange(count), 0, 2 * y + 1] += 1
    return x, y


def small_net(seed=0, dtype="float32"):
    image = pycnn.Input((1, SIZE, SIZE), name="image")
    h = L.MaxPool(2)(L.Conv(3, 3, padding=1, activation="relu", name="conv")(image))
    return pycnn.Network(image, L.Dense(3, name="scores")(L.Flatten()(h)), dtype=dtype, seed=seed)


def two_headed_net(seed=0):
    """Scores of three classes, and the mean of the image."""
    image = pycnn.Input((1, SIZE, SIZE), name="image")
    h = L.Flatten()(L.Conv(3, 3, activation="relu", name="conv")(image))
    return pycnn.Network(image, {"kind": L.Dense(3, name="kind")(h), "mean": L.Dense(1, name="mean")(h)}, seed=seed)


def parameters(net):
    return {name: value.copy() for name, value in net.parameters.items()}


def assert_same_parameters(net, expected):
    for name, value in net.parameters.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def without_seconds(history):
    return {key: values for key, values in history.items() if key != "seconds"}


def raise_at(epoch, batch):
    """A callback that presses Ctrl-C after a batch of an epoch."""

    def press(run):
        if (run.epoch, run.batch) == (epoch, batch):
            raise KeyboardInterrupt

    return LambdaCallback(on_batch_end=press)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_loss_falls_and_accuracy_rises():
    x, y = stripes()
    history = small_net().fit(x, y, epochs=20, optimizer=pycnn.Adam(0.01), validation_data=stripes(seed=1), verbose=0)
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert history["accuracy"][-1] == 1.0
    assert history["val_accuracy"][-1] > 0.95
    assert history.epoch == list(range(1, 21))
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"}
    assert all(len(values) == 20 for values in history.values())


def test_fit_equals_steps_on_the_same_batches_including_the_last_smaller_one():
    x, y = stripes(70)
    fitted, stepped = small_net(), small_net()
    losses = []
    fitted.fit(x, y, batch_size=32, shuffle=False, optimizer=pycnn.SGD(0.1), verbose=0,
               callbacks=[LambdaCallback(on_batch_end=lambda run: losses.append(run.batch_loss))])
    optimizer = pycnn.SGD(0.1)
    expected = [pycnn.training.train_on_batch(stepped, x[i : i + 32], y[i : i + 32], optimizer=optimizer)["loss"]
                for i in (0, 32, 64)]
    assert losses == expected
    assert_same_parameters(fitted, parameters(stepped))


def test_epoch_loss_is_the_mean_over_samples():
    x, y = stripes(70)
    net = small_net()
    history = net.fit(x, y, batch_size=32, optimizer=pycnn.SGD(0.0), verbose=0)
    assert history["loss"][0] == pytest.approx(net.evaluate(x, y)["loss"], rel=1e-6)
    assert history["accuracy"][0] == net.evaluate(x, y)["accuracy"]


def test_same_seed_same_result_and_other_seed_another():
    x, y = stripes()
    nets = [small_net() for _ in range(3)]
    for net, seed in zip(nets, (5, np.random.default_rng(5), 6)):
        net.fit(x, y, epochs=2, batch_size=16, seed=seed, verbose=0)
    assert_same_parameters(nets[0], parameters(nets[1]))
    assert not np.array_equal(nets[0]["conv"].weight, nets[2]["conv"].weight)


def test_iterables_of_batches_train_like_arrays():
    x, y = stripes(64)
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    of_arrays, of_batches = small_net(), small_net()
    a = of_arrays.fit(x, y, epochs=3, batch_size=16, shuffle=False, validation_data=(x, y), verbose=0)
    b = of_batches.fit(batches, epochs=3, validation_data=batches, verbose=0)
    assert_same_parameters(of_arrays, parameters(of_batches))
    assert without_seconds(a) == without_seconds(b)


def test_a_generator_serves_one_epoch_only():
    x, y = stripes(32)
    net = small_net()
    assert len(net.fit(((x, y) for _ in range(3)), verbose=0).epoch) == 1
    with pytest.raises(ValueError, match="generator"):
        net.fit(((x, y) for _ in range(3)), epochs=2, verbose=0)
    with pytest.raises(ValueError, match="validation_data is a generator"):
        net.fit(x, y, epochs=2, validation_data=((x, y) for _ in range(3)), verbose=0)


def test_several_outputs_have_figures_of_their_own():
    x, y = stripes()
    targets = {"kind": y, "mean": x.mean((2, 3))}
    losses = {"kind": "cross_entropy", "mean": "mse"}
    net = two_headed_net()
    weights = {"kind": 1.0, "mean": 0.5}
    history = net.fit(x, targets, loss=losses, loss_weights=weights, epochs=5, optimizer=pycnn.Adam(0.01),
                      validation_data=(x, targets), verbose=0)
    assert set(history) == {"lr", "seconds"} | {
        prefix + key for prefix in ("", "val_")
        for key in ("loss", "accuracy", "kind_loss", "kind_accuracy", "mean_loss")
    }
    assert history["loss"] == pytest.approx([a + b for a, b in zip(history["kind_loss"], history["mean_loss"])])
    scores = net.evaluate(x, targets, loss=losses, loss_weights=weights)
    assert scores["mean_loss"] == pytest.approx(0.5 * np.mean((net.predict(x)["mean"] - x.mean((2, 3))) ** 2), rel=1e-4)


def test_accuracy_is_for_cross_entropy_only():
    x, _ = stripes()
    target = np.zeros((len(x), 3), np.float32)
    assert set(small_net().fit(x, target, loss="mse", verbose=0)) == {"loss", "lr", "seconds"}


def test_augmented_batches_are_copies_of_the_given_rows():
    x, y = stripes(40)
    kept, seen = x.copy(), []

    def augment(batch, rng):
        seen.append(batch.copy())
        batch += rng.normal(size=batch.shape)
        return batch

    small_net().fit(x, y, batch_size=16, augment=augment, verbose=0)
    np.testing.assert_array_equal(x, kept)
    assert sorted(image.tobytes() for image in np.concatenate(seen)) == sorted(image.tobytes() for image in x)


def test_an_augmentation_that_changes_the_shape_is_refused():
    x, y = stripes(20)
    with pytest.raises(ValueError, match=r"augment made a batch of shape \(20, 1, 7, 8\)"):
        small_net().fit(x, y, augment=lambda batch, rng: batch[:, :, 1:], verbose=0)


class Reversing:
    """Numbers the classes from the other end, in the picture and in the target."""

    changes_targets = True

    def __init__(self, change=lambda batch, targets: (-batch, 2 - targets)):
        self.change = change

    def __call__(self, batch, targets, rng):
        assert isinstance(rng, np.random.Generator)
        return self.change(batch, targets)


def test_an_augmentation_may_change_the_targets_with_the_inputs():
    x, y = stripes(40)
    kept = y.copy()
    plain, reversed_twice, batches = small_net(), small_net(), small_net()
    plain.fit(x, y, batch_size=16, verbose=0)
    reversed_twice.fit(-x, 2 - y, batch_size=16, augment=Reversing(), verbose=0)
    assert_same_parameters(reversed_twice, parameters(plain))
    plain.fit(x, y, batch_size=40, shuffle=False, verbose=0)
    batches.fit(-x, 2 - y, batch_size=16, augment=Reversing(), verbose=0)
    batches.fit([(-x, 2 - y)], augment=Reversing(), verbose=0)
    assert_same_parameters(batches, parameters(plain))
    np.testing.assert_array_equal(y, kept)


@pytest.mark.parametrize(("change", "message"), [
    (lambda batch, targets: (batch, targets + 3), "target .* 0 to 2|labels"),
    (lambda batch, targets: (batch, targets[1:]), "augment made 19 targets of 20"),
    (lambda batch, targets: (batch[1:], targets), "augment made a batch of shape"),
])
def test_an_augmentation_that_makes_impossible_targets_is_refused(change, message):
    x, y = stripes(20)
    with pytest.raises(ValueError, match=message):
        small_net().fit(x, y, augment=Reversing(change), verbose=0)


def test_class_weights_favour_their_class():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1, SIZE, SIZE)).astype(np.float32)
    y = np.arange(60) % 3
    for weights in ({2: 1000.0}, [1.0, 1.0, 1000.0]):
        net = small_net()
        net.fit(x, y, epochs=10, optimizer=pycnn.Adam(0.01), class_weight=weights, verbose=0)
        assert (net.predict(x).argmax(1) == 2)[y == 2].all()
    dict_net = small_net()
    dict_net.fit(x, y, epochs=10, optimizer=pycnn.Adam(0.01), class_weight={2: 1000.0}, verbose=0)
    assert_same_parameters(dict_net, parameters(net))


@pytest.mark.parametrize("weights", [{3: 1.0}, {0: -1.0}, {0: np.nan}, [1.0, 1.0], "balanced"])
def test_bad_class_weights_are_refused(weights):
    with pytest.raises((ValueError, TypeError), match="class"):
        small_net().fit(*stripes(), class_weight=weights, verbose=0)


def test_clipping_bounds_the_step():
    x, y = stripes()
    net = small_net()
    before = net.storage.values.copy()
    net.fit(x, y, batch_size=len(x), optimizer=pycnn.SGD(1.0), clip_norm=1e-3, verbose=0)
    assert np.linalg.norm(net.storage.values - before) == pytest.approx(1e-3, rel=1e-4)


def test_evaluate_leaves_the_network_as_it_was():
    x, y = stripes()
    net = small_net()
    net.evaluate(x, y)
    assert net.optimizer is None
    optimizer = pycnn.Adam()
    net.fit(x, y, optimizer=optimizer, verbose=0)
    before = parameters(net)
    assert net.evaluate(x, y, batch_size=7)["loss"] == pytest.approx(net.evaluate(x, y)["loss"], rel=1e-6)
    assert net.optimizer is optimizer
    assert_same_parameters(net, before)


def test_train_on_batch_goes_on_with_the_last_optimizer():
    x, y = stripes()
    named, kept = small_net(), small_net()
    optimizer = pycnn.Adam()
    for _ in range(3):
        named.train_on_batch(x, y, optimizer="adam")
        figures = kept.train_on_batch(x, y, optimizer=optimizer)
    assert set(figures) == {"loss", "accuracy"}
    assert named.optimizer.steps == 3
    assert_same_parameters(named, parameters(kept))


# ---- stopping and going on -------------------------------------------------------------------------------------------


def watchers():
    return [CosineDecay(6, warmup=1), EarlyStopping("val_loss", patience=2), ReduceOnPlateau("val_loss", 0.5, 1)]


def noisy(batch, rng):
    return batch + rng.normal(0, 0.1, batch.shape)


def train(net, epochs=6, **options):
    """A training in which everything that has a state takes part."""
    x, y = stripes(70)
    defaults = {"optimizer": pycnn.Adam(0.02), "batch_size": 16, "validation_data": stripes(40, seed=1), "seed": 3}
    return net.fit(x, y, epochs=epochs, verbose=0, **{**defaults, **options})


def reloaded(net, tmp_path):
    net.save(tmp_path / "net.safetensors")
    return pycnn.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("augment", [None, noisy])
@pytest.mark.parametrize("stop", [(1, 1), (3, 2), (3, 5), (6, 4)])
def test_a_resumed_training_equals_one_that_never_stopped(tmp_path, stop, augment):
    straight = small_net()
    expected = train(straight, callbacks=watchers(), augment=augment)
    stopped = small_net()
    first = train(stopped, callbacks=[*watchers(), raise_at(*stop)], augment=augment)
    assert first.interrupted and len(first.epoch) == stop[0] - 1
    again = reloaded(stopped, tmp_path)
    history = train(again, callbacks=watchers(), augment=augment, resume=True)
    assert not history.interrupted
    assert_same_parameters(again, parameters(straight))
    assert without_seconds(history) == without_seconds(expected)
    assert history.epoch == expected.epoch


def test_epochs_may_be_trained_one_at_a_time(tmp_path):
    straight, net = small_net(), small_net()
    expected = train(straight, epochs=4)
    for epochs in range(1, 5):
        history = train(net, epochs=epochs, resume=True)
        net = reloaded(net, tmp_path)
    assert_same_parameters(net, parameters(straight))
    assert without_seconds(history) == without_seconds(expected)


def test_resuming_iterables_skips_the_batches_that_are_done(tmp_path):
    x, y = stripes(64)
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    straight, stopped = small_net(), small_net()
    expected = straight.fit(batches, epochs=3, verbose=0)
    stopped.fit(batches, epochs=3, callbacks=raise_at(2, 3), verbose=0)
    again = reloaded(stopped, tmp_path)
    history = again.fit(batches, epochs=3, resume=True, verbose=0)
    assert_same_parameters(again, parameters(straight))
    assert without_seconds(history) == without_seconds(expected)


def test_early_stopping_restores_the_best_parameters_of_before_the_stop(tmp_path):
    """The best epoch lies before the interruption, so that its parameters have to come from the file."""

    def callbacks():
        worse = LambdaCallback(on_epoch_end=lambda run: run.logs.update(val_loss=float(run.epoch)))
        return [worse, EarlyStopping("val_loss", patience=4)]

    straight, stopped = small_net(), small_net()
    train(straight, callbacks=callbacks())
    train(stopped, callbacks=[*callbacks(), raise_at(4, 2)])
    again = reloaded(stopped, tmp_path)
    train(again, callbacks=callbacks(), resume=True)
    assert_same_parameters(again, parameters(straight))


def test_other_bit_generators_resume_too(tmp_path):
    straight, stopped = small_net(), small_net()
    train(straight, seed=np.random.Generator(np.random.MT19937(1)))
    train(stopped, seed=np.random.Generator(np.random.MT19937(1)), callbacks=raise_at(2, 3))
    again = reloaded(stopped, tmp_path)
    train(again, resume=True)
    assert_same_parameters(again, parameters(straight))


def test_resuming_without_a_state_begins_and_a_finished_training_stays():
    straight, net = small_net(), small_net()
    train(straight)
    train(net, resume=True)
    assert_same_parameters(net, parameters(straight))
    assert len(train(net, resume=True).epoch) == 6
    assert_same_parameters(net, parameters(straight))


def test_resuming_with_other_data_is_refused():
    net = small_net()
    train(net, callbacks=raise_at(2, 2))
    with pytest.raises(ValueError, match="in the midst of an epoch of 70 samples in batches of 16"):
        train(net, resume=True, batch_size=8)
    with pytest.raises(ValueError, match="same loss and validation_data"):
        train(net, resume=True, validation_data=None)


def test_training_state_is_json():
    net = small_net()
    train(net, callbacks=watchers())
    assert json.loads(json.dumps(net.training_state)) == net.training_state


def test_ctrl_c_ends_after_the_batch_under_way():
    batches = []

    def press(run):
        batches.append(run.batch)
        if len(batches) == 7:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    net = small_net()
    history = train(net, callbacks=LambdaCallback(on_batch_end=press))
    assert history.interrupted and len(history.epoch) == 1
    assert batches == [1, 2, 3, 4, 5, 1, 2]
    assert net.training_state["fit"]["batch"] == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loss_that_is_not_finite_stops_with_the_parameters_before_that_batch(tmp_path):
    x, y = stripes(64)
    bad = x.copy()
    bad[40] = np.nan
    net, expected = small_net(), []
    saving = Checkpoint(tmp_path / "after-{epoch}.safetensors")
    remember = LambdaCallback(on_batch_end=lambda run: expected.append(parameters(net)))
    x_of_epochs = iter([x, x, bad])

    class Batches:
        def __iter__(self):
            of_epoch = next(x_of_epochs)
            return iter([(of_epoch[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)])

    says = r"nan in epoch 3, batch 3.*before that batch; \S*after-2.safetensors holds"
    with pytest.raises(FloatingPointError, match=says):
        net.fit(Batches(), epochs=5, callbacks=[saving, remember], verbose=0)
    assert len(expected) == 4 + 4 + 2
    assert_same_parameters(net, expected[-1])
    with pytest.raises(TrainingDiverged):
        net.train_on_batch(bad, y)
    assert_same_parameters(net, expected[-1])


def test_hooks_come_in_order():
    calls = []

    class Recorder(Callback):
        pass

    for hook in ("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_recorded", "on_train_end"):
        setattr(Recorder, hook, lambda self, run, hook=hook: calls.append((hook, run.epoch, run.batch)))
    small_net().fit(*stripes(32), batch_size=16, epochs=2, callbacks=[Recorder()], verbose=0)
    of_epochs = [[("on_epoch_begin", e, 0), ("on_batch_end", e, 1), ("on_batch_end", e, 2), ("on_epoch_end", e, 0),
                  ("on_recorded", e, 0)] for e in (1, 2)]
    assert calls == [("on_train_begin", 0, 0), *of_epochs[0], *of_epochs[1], ("on_train_end", 2, 0)]


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_verbose_says_nothing_or_a_bar_or_a_line_an_epoch(capsys):
    x, y = stripes()
    small_net().fit(x, y, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")
    small_net().fit(x, y, epochs=2, verbose=1)
    out, err = capsys.readouterr()
    assert out == "" and "epoch 1/2" in err and "70.0/70.0" in err and "images/s" in err
    assert err.endswith("\n") and "epoch 2/2: loss" in err.splitlines()[-1]
    small_net().fit(x, y, epochs=2, validation_data=(x, y), verbose=2)
    out, err = capsys.readouterr()
    assert err == "" and len(out.splitlines()) == 2
    assert out.startswith("epoch 1/2: loss") and "val_accuracy" in out and "images/s" in out
    small_net().evaluate(x, y, verbose=1)
    out, err = capsys.readouterr()
    assert out == "" and "evaluate" in err


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, error, match", [
    ({"epochs": 0}, ValueError, "epochs must be at least 1"),
    ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"batch_size": True}, TypeError, "batch_size must be an integer"),
    ({"verbose": 3}, ValueError, "verbose must be 0, 1 or 2"),
    ({"loss": "hinge"}, ValueError, "unknown loss 'hinge'"),
    ({"optimizer": "lbfgs"}, ValueError, "unknown optimizer 'lbfgs'"),
    ({"clip_norm": float("nan")}, ValueError, "clip_norm"),
    ({"loss_weights": float("inf")}, ValueError, "loss weight"),
    ({"augment": 3}, TypeError, "augment must be a function"),
    ({"callbacks": [print]}, TypeError, "callbacks must be of class"),
    ({"validation_data": (np.zeros((2, 1, 8, 8)), np.zeros(3, int))}, ValueError, "validation_data: x has 2 samples"),
    ({"callbacks": [EarlyStopping("val_loss")]}, ValueError, "EarlyStopping watches 'val_loss'.*give validation_data"),
])
def test_bad_arguments_are_refused_before_any_work(options, error, match):
    net = small_net()
    before = parameters(net)
    with pytest.raises(error, match=match):
        net.fit(*stripes(), **{"verbose": 0, **options})
    assert_same_parameters(net, before)
    assert net.training_state == {}


def test_bad_data_is_refused():
    x, y = stripes(20)
    net = small_net()
    with pytest.raises(ValueError, match="x has 20 samples, but y has 19"):
        net.fit(x, y[:19])
    with pytest.raises(ValueError, match="there are no samples"):
        net.fit(x[:0], y[:0])
    with pytest.raises(TypeError, match="y is missing"):
        net.fit(x)
    with pytest.raises(ValueError, match="batch 2 must be a pair"):
        net.fit([(x, y), x], verbose=0)
    with pytest.raises(ValueError, match="batch 1: there are no samples"):
        net.fit([(x[:0], y[:0])], verbose=0)
    with pytest.raises(ValueError, match="empty"):
        net.fit([], verbose=0)
