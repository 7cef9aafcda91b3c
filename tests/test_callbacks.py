"""Callbacks: what they do to the learning rate, the network and the files."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn.callbacks import (
    Checkpoint,
    CosineDecay,
    CSVLog,
    EarlyStopping,
    LambdaCallback,
    LearningRateSchedule,
    MaxNorm,
    ReduceOnPlateau,
    StepDecay,
)


def tiny_net():
    x = pycnn.Input((4,), name="x")
    return pycnn.Network(x, L.Dense(2, name="scores")(x), seed=0)


def tiny_data(count=24):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 4))
    return x, (x[:, 0] > 0).astype(int)


def fit(callbacks, epochs, net=None, **options):
    net = net or tiny_net()
    options = {"optimizer": pycnn.SGD(0.1), **options}
    return net, net.fit(*tiny_data(), callbacks=callbacks, epochs=epochs, verbose=0, **options)


def figures(name, values):
    """A callback that makes `values` the figures of the epochs, for those behind it to see."""
    return LambdaCallback(on_epoch_end=lambda run: run.logs.update({name: values[run.epoch - 1]}))


def rates(schedule, epochs, lr=0.1):
    _, history = fit([schedule], epochs, optimizer=pycnn.SGD(lr))
    return history["lr"]


# ---- learning rates --------------------------------------------------------------------------------------------------


def test_step_decay_multiplies_every_so_many_epochs():
    assert rates(StepDecay(0.5, every=2), 5) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_cosine_decay_falls_from_the_rate_to_the_least():
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert rates(CosineDecay(4, min_lr=0.01), 5) == pytest.approx([*expected, 0.01])


def test_cosine_decay_warms_up_linearly():
    assert rates(CosineDecay(6, warmup=2), 6) == pytest.approx(
        [0.05, 0.1, *(0.05 * (1 + math.cos(math.pi * k / 4)) for k in range(4))]
    )


def test_any_function_is_a_schedule():
    assert rates(LearningRateSchedule(lambda epoch, lr: lr / epoch), 3) == pytest.approx([0.1, 0.05, 0.1 / 3])


def test_reduce_on_plateau_waits_then_reduces_down_to_the_least():
    losses = figures("val_loss", [3.0, 2.0, 2.0, 2.0, 1.99, 1.0, 1.0, 1.0, 1.0])
    plateau = ReduceOnPlateau("val_loss", factor=0.1, patience=2, min_lr=0.005, min_delta=0.1)
    _, history = fit([losses, plateau], 9, validation_data=tiny_data())
    assert history["lr"] == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.005])


@pytest.mark.parametrize("schedule", [StepDecay(0.5, 1), CosineDecay(3), ReduceOnPlateau("accuracy", 0.5, 1)])
def test_the_optimizers_own_rate_comes_back(schedule):
    net, history = fit([schedule], 3)
    assert net.optimizer.lr == 0.1
    _, again = fit([schedule], 3, net)
    assert again["lr"][0] == history["lr"][0]


def test_max_norm_shortens_the_vectors_that_are_too_long_and_no_others():
    net = tiny_net()
    net["scores"].weight[...] = [[3, 0, 4, 0], [0.1, 0, 0, 0]]
    fit([MaxNorm("scores", 0.5)], 1, net, optimizer=pycnn.SGD(0.0))
    assert net["scores"].weight == pytest.approx(np.array([[0.3, 0, 0.4, 0], [0.1, 0, 0, 0]]))


def test_max_norm_holds_after_every_batch_and_of_whole_filters():
    x = pycnn.Input((2, 5), name="x")
    net = pycnn.Network(x, L.Dense(2)(L.GlobalMaxPool()(L.Conv(3, 2, name="conv")(x))))
    norms = []
    watch = LambdaCallback(on_batch_end=lambda run: norms.extend(np.linalg.norm(run.net["conv"].weight, axis=(1, 2))))
    data = np.random.default_rng(0).normal(size=(24, 2, 5)), np.arange(24) % 2
    net.fit(*data, optimizer=pycnn.SGD(1.0), epochs=3, batch_size=8, callbacks=[MaxNorm("conv", 0.7), watch], verbose=0)
    assert len(norms) == 3 * 3 * 3 and max(norms) == pytest.approx(0.7) and min(norms) < 0.7


@pytest.mark.parametrize("layer", ["none", "x", "relu"])
def test_max_norm_needs_a_layer_with_weights(layer):
    x = pycnn.Input((4,), name="x")
    net = pycnn.Network(x, L.Dense(2)(L.ReLU(name="relu")(x)))
    with pytest.raises(ValueError, match=f"no layer '{layer}' with a weight"):
        fit([MaxNorm(layer, 3)], 1, net)


@pytest.mark.parametrize("make", [
    lambda: MaxNorm("scores", 0), lambda: MaxNorm("scores", -1), lambda: MaxNorm("scores", math.nan),
    lambda: StepDecay(-1, 2), lambda: StepDecay(0.5, 0), lambda: CosineDecay(3, warmup=3), lambda: CosineDecay(0),
    lambda: CosineDecay(3, min_lr=math.nan), lambda: ReduceOnPlateau(factor=1.0), lambda: ReduceOnPlateau(patience=0),
    lambda: EarlyStopping(patience=0), lambda: EarlyStopping(min_delta=-1),
])
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


# ---- stopping and saving ---------------------------------------------------------------------------------------------


def test_early_stopping_stops_after_its_patience_and_restores_the_best():
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda run: kept.append(run.net["scores"].weight.copy()))
    stopping = EarlyStopping("val_loss", patience=2, min_delta=0.01)
    losses = figures("val_loss", [3.0, 2.0, 1.995, 2.5, 1.0, 1.0])
    net, history = fit([losses, keep, stopping], 6, validation_data=tiny_data())
    assert history.epoch == [1, 2, 3, 4]
    assert stopping.best_epoch == 2
    np.testing.assert_array_equal(net["scores"].weight, kept[1])


def test_early_stopping_can_leave_the_last_parameters():
    net, _ = fit([figures("loss", [1.0, 2.0, 3.0]), EarlyStopping("loss", patience=1, restore_best=False)], 3)
    expected, _ = fit([], 2)
    np.testing.assert_array_equal(net["scores"].weight, expected["scores"].weight)


def test_accuracies_are_to_rise_and_nan_is_never_best():
    _, history = fit([figures("accuracy", [0.5, 0.6, 0.6, 0.7]), EarlyStopping("accuracy", patience=1)], 4)
    assert len(history.epoch) == 3
    _, history = fit([figures("loss", [math.nan, 1.0, math.nan]), EarlyStopping("loss", patience=2)], 3)
    assert len(history.epoch) == 3


def test_a_callback_serves_several_trainings():
    stopping = EarlyStopping("loss", patience=1)
    for _ in range(2):
        _, history = fit([figures("loss", [1.0, 2.0, 3.0]), stopping], 3)
        assert len(history.epoch) == 2


def test_checkpoint_saves_every_epoch_what_can_be_resumed(tmp_path):
    saving = Checkpoint(tmp_path / "net-{epoch:02d}-{loss:.3f}.safetensors")
    net, history = fit([saving, CosineDecay(4)], 4, batch_size=5)
    files = sorted(tmp_path.iterdir())
    expected = [f"net-{e:02d}-{v:.3f}.safetensors" for e, v in zip(history.epoch, history["loss"])]
    assert [f.name for f in files] == expected
    assert saving.saved == str(files[-1])
    again = pycnn.load(files[1])
    assert again.training_state["fit"]["epoch"] == 2
    fit([CosineDecay(4)], 4, again, batch_size=5, resume=True)
    np.testing.assert_array_equal(again["scores"].weight, net["scores"].weight)


def test_checkpoint_of_the_best_only(tmp_path):
    path = tmp_path / "best-{epoch}.safetensors"
    losses = figures("val_loss", [3.0, 4.0, 2.0, 2.0])
    fit([losses, Checkpoint(path, save_best_only=True)], 4, validation_data=tiny_data())
    assert sorted(f.name for f in tmp_path.iterdir()) == ["best-1.safetensors", "best-3.safetensors"]


def test_checkpoint_refuses_before_any_work_what_it_could_not_write(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        fit([Checkpoint(tmp_path / "missing" / "net.safetensors")], 1)
    with pytest.raises(ValueError, match="cannot be filled in"):
        fit([Checkpoint(tmp_path / "{val_loss}.safetensors")], 1)


def test_csv_log_holds_the_history(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fit([CSVLog(path)], 3, validation_data=tiny_data())
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for key, values in history.items():
        assert [float(row[key]) for row in rows] == values


def test_csv_log_of_a_resumed_training_has_all_epochs(tmp_path):
    net, _ = fit([], 2)
    fit([CSVLog(tmp_path / "log.csv")], 4, net, resume=True)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,lr,seconds"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]


def test_lambda_callback_refuses_unknown_hooks():
    with pytest.raises(TypeError, match="unknown hook 'on_epoch'"):
        LambdaCallback(on_epoch=print)
    with pytest.raises(TypeError, match="must be a function"):
        LambdaCallback(on_epoch_end=1)


def test_stop_ends_after_the_epoch():
    def stop(run):
        run.stop = True

    _, history = fit([LambdaCallback(on_batch_end=stop)], 5, batch_size=4)
    assert len(history.epoch) == 1


def test_monitors_name_what_there_is():
    run = SimpleNamespace(metrics=["loss", "lr"])
    with pytest.raises(ValueError, match="ReduceOnPlateau watches 'accuracy', but this training has only loss, lr$"):
        ReduceOnPlateau("accuracy").on_train_begin(run)
