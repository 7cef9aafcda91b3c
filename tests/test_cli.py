"""The command pycnn: files written, JSON, exit codes and error lines."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import pycnn
from pycnn import cli, tasks
from pycnn import layers as L
from pycnn.callbacks import LambdaCallback
from pycnn.commands import files, train
from pycnn.figures import training_figure
from pycnn.metrics import confusion_counts
from pycnn.training import History

SEGMENTS = ["abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg"]
STROKES = {     # rows and columns of each segment
    "a": (slice(4, 7), slice(9, 20)), "g": (slice(13, 16), slice(9, 20)), "d": (slice(22, 25), slice(9, 20)),
    "f": (slice(4, 16), slice(8, 11)), "b": (slice(4, 16), slice(18, 21)),
    "e": (slice(13, 25), slice(8, 11)), "c": (slice(13, 25), slice(18, 21)),
}


def displays(count, seed):
    """The digits of a seven-segment display, white on black, 28x28, with some noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 10
    x = rng.uniform(0, 0.1, (count, 1, 28, 28)).astype(np.float32)
    for image, digit in zip(x[:, 0], y):
        for segment in SEGMENTS[digit]:
            image[STROKES[segment]] = 1
    return x, y


load_data = files.load_data


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    monkeypatch.setattr(files, "load_data", lambda name, folder: (displays(200, 0), displays(50, 1)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with lenet5.safetensors, which knows displays."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "load_data", lambda name, folder: (displays(200, 0), displays(50, 1)))
        patch.setattr(tasks, "training_figure", without_matplotlib)
        assert cli.main(["train", "lenet5", "--epochs", "15", "--out", str(folder), "--verbose", "0"]) == 0
    return folder


def without_matplotlib(*args, **options):
    raise ImportError("figures need matplotlib: pip install pycnn[plot]")


def run(capsys, *args):
    """Exit code, and what was printed."""
    try:
        code = cli.main(list(map(str, args)))
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys, *args, code=2):
    """The one line that a failing command prints."""
    got, out, err = run(capsys, *args)
    assert got == code
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


# ---- train -----------------------------------------------------------------------------------------------------------


def test_train_writes_network_and_picture_and_ends_with_json(capsys, tmp_path):
    code, out, err = run(capsys, "train", "lenet5", "--epochs", 2, "--out", tmp_path / "new", "--json")
    assert code == 0
    result = json.loads(out)
    assert out.count("\n") == 1
    path = str(tmp_path / "new" / "lenet5.safetensors")
    assert {k: result[k] for k in ("model", "data", "epochs", "parameters", "file", "figure")} == {
        "model": "lenet5", "data": "digits", "epochs": 2, "parameters": 61706, "file": path,
        "figure": path.replace(".safetensors", ".png"),
    }
    assert 0 <= result["test_accuracy"] <= 1 and result["test_loss"] > 0 and result["seconds"] > 0
    assert "epoch 2/2" in err and "test accuracy" in err
    scores = pycnn.training.evaluate(pycnn.load(path), *displays(50, 1))
    assert (result["test_accuracy"], result["test_loss"]) == (scores["accuracy"], scores["loss"])
    with Image.open(result["figure"]) as picture:
        assert picture.format == "PNG" and picture.width > picture.height


def test_train_prints_for_people_without_json(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "training_figure", without_matplotlib)
    code, out, err = run(capsys, "train", "lenet5", "--epochs", 1, "--out", tmp_path)
    assert code == 0
    assert out.startswith("test accuracy")
    assert err.splitlines()[-1] == "no picture: figures need matplotlib: pip install pycnn[plot]"
    assert [f.name for f in tmp_path.iterdir()] == ["lenet5.safetensors"]


def test_train_can_be_silent_and_depends_on_its_seed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "training_figure", without_matplotlib)
    weights = []
    for seed in (1, 1, 2):
        folder = tmp_path / f"{len(weights)}"
        code, out, err = run(capsys, "train", "lenet5", "--epochs", 1, "--seed", seed, "--out", folder, "--verbose", 0)
        assert (code, out) == (0, "") and err.startswith("no picture")
        weights.append(pycnn.load(folder / "lenet5.safetensors")["C1"].weight.copy())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_ctrl_c_saves_and_resume_ends_where_it_would_have_ended(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "training_figure", without_matplotlib)
    arguments = ["train", "lenet5", "--epochs", 4, "--lr", 0.003, "--json"]
    assert run(capsys, *arguments, "--out", tmp_path / "straight")[0] == 0

    fit = train.fit

    def press(run):
        if (run.epoch, run.batch) == (3, 2):
            raise KeyboardInterrupt

    def interrupted_fit(*args, callbacks, **options):
        return fit(*args, callbacks=[*callbacks, LambdaCallback(on_batch_end=press)], **options)

    monkeypatch.setattr(train, "fit", interrupted_fit)
    code, out, err = run(capsys, *arguments, "--out", tmp_path)
    path = tmp_path / "lenet5.safetensors"
    assert code == 130
    assert json.loads(out)["interrupted"] and json.loads(out)["epochs"] == 2
    assert f"interrupted after 2 of 4 epochs; go on with: pycnn train lenet5 --resume {path}" in err

    monkeypatch.setattr(train, "fit", fit)
    code, out, _ = run(capsys, "train", "lenet5", "--resume", path, "--out", tmp_path, "--json")
    assert code == 0 and json.loads(out)["epochs"] == 4
    expected = pycnn.load(tmp_path / "straight" / "lenet5.safetensors").parameters
    for name, value in pycnn.load(path).parameters.items():
        np.testing.assert_array_equal(value, expected[name])


def test_resume_refuses_what_would_change_the_training(capsys, trained, tmp_path):
    path = trained / "lenet5.safetensors"
    assert "--seed 9: the training to resume has 0" in fails(capsys, "train", "lenet5", "--resume", path, "--seed", 9)
    assert "has digits" in fails(capsys, "train", "lenet5", "--resume", path, "--data", "mnist")
    other = tmp_path / "other.safetensors"
    x = pycnn.Input((4,))
    pycnn.Network(x, L.Dense(2)(x)).save(other)
    assert "not the file of a training by this command" in fails(capsys, "train", "lenet5", "--resume", other)


def test_a_diverging_training_is_a_failure(capsys, tmp_path):
    err = fails(capsys, "train", "lenet5", "--lr", "1e30", "--epochs", 2, "--out", tmp_path, "--verbose", 0, code=1)
    assert re.match(r"pycnn train: error: the loss became (nan|inf) in epoch \d, batch \d", err)


# ---- predict ---------------------------------------------------------------------------------------------------------


def predictions(capsys, trained, *images):
    code, out, err = run(capsys, "predict", trained / "lenet5.safetensors", *images, "--json")
    assert code == 0
    return json.loads(out)["predictions"], err


def save_picture(path, pixels, scale=1, mode="L"):
    picture = Image.fromarray((255 * pixels).round().astype(np.uint8)).convert(mode)
    picture.resize((scale * 28, scale * 28), Image.Resampling.NEAREST).save(path)
    return path


@pytest.mark.parametrize("kind", [("a.png", 1, "L"), ("a.png", 5, "RGB"), ("a.jpg", 3, "L"), ("a.png", 2, "P")])
@pytest.mark.parametrize("dark_on_light", [False, True])
def test_predict_reads_pictures_of_any_size_and_both_polarities(capsys, trained, tmp_path, kind, dark_on_light):
    x, y = displays(10, 2)
    name, scale, mode = kind
    for i in (0, 7):
        path = save_picture(tmp_path / name, 1 - x[i, 0] if dark_on_light else x[i, 0], scale, mode)
        (prediction,), err = predictions(capsys, trained, path)
        assert prediction["classes"][0]["class"] == str(y[i])
        assert prediction["inverted"] == dark_on_light
        assert ("(dark on light: inverted)" in err) == dark_on_light
        probabilities = [c["probability"] for c in prediction["classes"]]
        assert len(probabilities) == 3 and sum(probabilities) <= 1
        assert probabilities == sorted(probabilities, reverse=True)


def test_predict_keeps_the_proportions_of_a_picture(capsys, trained, tmp_path):
    x, _ = displays(10, 2)
    path = tmp_path / "narrow.png"
    Image.fromarray((255 * x[3, 0, :, 6:23]).astype(np.uint8)).resize((51, 84)).save(path)
    assert predictions(capsys, trained, path)[0][0]["classes"][0]["class"] == "3"


def test_predict_takes_transparency_for_paper(capsys, trained, tmp_path):
    x, _ = displays(10, 2)
    ink = (255 * (x[5, 0] > 0.5)).astype(np.uint8)
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[..., 3] = ink
    Image.fromarray(pixels).save(tmp_path / "ink.png")
    (prediction,), _ = predictions(capsys, trained, tmp_path / "ink.png")
    assert prediction["inverted"] and prediction["classes"][0]["class"] == "5"


def test_predict_reads_arrays_of_one_or_many(capsys, trained, tmp_path):
    x, y = displays(10, 2)
    np.save(tmp_path / "one.npy", x[4, 0])
    np.save(tmp_path / "bytes.npy", (255 * x[4]).astype(np.uint8))
    np.savez(tmp_path / "many.npz", a=x[:3], b=x[3:5, 0])
    found, _ = predictions(capsys, trained, tmp_path / "one.npy", tmp_path / "bytes.npy", tmp_path / "many.npz")
    assert [p["classes"][0]["class"] for p in found] == [str(y[i]) for i in (4, 4, 0, 1, 2, 3, 4)]
    assert found[2]["image"].endswith("many.npz[0]")


def test_predict_prints_a_line_an_image(capsys, trained, tmp_path):
    np.save(tmp_path / "x.npy", displays(10, 2)[0][4, 0])
    code, out, err = run(capsys, "predict", trained / "lenet5.safetensors", tmp_path / "x.npy", "--top", 2)
    assert code == 0 and err == ""
    assert re.fullmatch(rf"{re.escape(str(tmp_path / 'x.npy'))}: 4 \d+\.\d%, \d \d+\.\d%\n", out)


def test_predict_refuses_what_is_no_image(capsys, trained, tmp_path):
    network = trained / "lenet5.safetensors"
    (tmp_path / "text.png").write_text("not a picture")
    np.save(tmp_path / "wide.npy", np.zeros((3, 5, 7)))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "No such file" in fails(capsys, "predict", network, tmp_path / "missing.png")
    assert "text.png: not a picture that pillow can read" in fails(capsys, "predict", network, tmp_path / "text.png")
    wide = "has shape (3, 5, 7); the network takes (1, 28, 28)"
    assert wide in fails(capsys, "predict", network, tmp_path / "wide.npy")
    assert "holds <U1, not numbers" in fails(capsys, "predict", network, tmp_path / "words.npy")
    assert "objects.npy" in fails(capsys, "predict", network, tmp_path / "objects.npy")


# ---- evaluate, summary, info -----------------------------------------------------------------------------------------


def test_evaluate_uses_the_data_that_the_network_was_trained_on(capsys, trained):
    code, out, _ = run(capsys, "evaluate", trained / "lenet5.safetensors", "--json", "--verbose", 0)
    result = json.loads(out)
    assert code == 0 and result["data"] == "digits" and result["samples"] == 50
    assert result["test_accuracy"] > 0.9
    code, out, _ = run(capsys, "evaluate", trained / "lenet5.safetensors", "--data", "mnist", "--verbose", 0)
    assert code == 0 and out.startswith("mnist: test accuracy")


def test_evaluate_needs_to_know_the_data(capsys, tmp_path):
    pycnn.models.lenet5().save(tmp_path / "new.safetensors")
    assert "name a data set with --data" in fails(capsys, "evaluate", tmp_path / "new.safetensors")


def test_summary_shows_the_layers(capsys, trained):
    code, out, _ = run(capsys, "summary", trained / "lenet5.safetensors")
    assert code == 0 and "C3 (Conv)" in out and "61,706" in out
    code, out, err = run(capsys, "summary", trained / "lenet5.safetensors", "--json")
    assert json.loads(out)["inputs"] == {"image": [1, 28, 28]} and "C3 (Conv)" in err


def test_info_and_version(capsys):
    threads = pycnn.get_num_threads()
    code, out, err = run(capsys, "info", "--threads", 1, "--json")
    pycnn.set_num_threads(threads)
    assert code == 0 and json.loads(out)["threads"] == 1 and "isa" in err
    assert run(capsys, "--version") == (0, f"pycnn {pycnn.__version__}\n", "")


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "pycnn", "summary", "missing.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pycnn summary: error: missing.safetensors: No such file or directory\n"


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args, message", [
    ([], "required: COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
    (["train"], "required: MODEL"),
    (["train", "resnet"], "invalid choice: 'resnet'"),
    (["train", "lenet5", "--epochs", "0"], "'0' is not a whole number of at least 1"),
    (["train", "lenet5", "--batch-size", "many"], "'many' is not a whole number of at least 1"),
    (["train", "lenet5", "--data", "imagenet"], "invalid choice: 'imagenet'"),
    (["train", "lenet5", "--lr", "-1"], "learning rate must be a finite number"),
    (["train", "lenet5", "--threads", "0"], "'0' is not a whole number"),
])
def test_bad_usage_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *args)
    assert list(tmp_path.iterdir()) == []


def test_data_folders_are_checked(tmp_path):
    (_, labels), (images, _) = load_data("digits", None)
    assert len(labels) == 4000 and images.shape == (1000, 1, 28, 28)
    with pytest.raises(files.InputError, match="the digits ship with pycnn"):
        load_data("digits", str(tmp_path))
    with pytest.raises(files.InputError, match="does not hold the four files"):
        load_data("fashion-mnist", str(tmp_path))


def test_an_output_folder_that_is_a_file_is_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--out" in fails(capsys, "train", "lenet5", "--out", tmp_path / "file")


@pytest.mark.parametrize("content, message", [
    (b"", "not a safetensors file"),
    (b"PK\x03\x04 some archive", "not a safetensors file"),
    (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "not one that pycnn wrote"),
])
@pytest.mark.parametrize("command", ["summary", "evaluate"])
def test_foreign_files_are_refused(capsys, tmp_path, command, content, message):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    assert message in fails(capsys, command, path)


def test_unexpected_errors_are_one_line_or_a_traceback(capsys, trained, monkeypatch):
    def broken(args):
        raise RuntimeError("a broken\npipe dream")

    monkeypatch.setattr(files, "load_network", broken)
    assert fails(capsys, "summary", "x", code=1) == "pycnn summary: error: a broken pipe dream\n"
    code, _, err = run(capsys, "summary", "x", "--verbose", 2)
    assert code == 1 and err.startswith("Traceback") and err.endswith("pycnn summary: error: a broken pipe dream\n")


def test_ctrl_c_elsewhere_is_exit_code_130(capsys, monkeypatch):
    def pressed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "load_network", pressed)
    assert fails(capsys, "summary", "x", code=130) == "pycnn: interrupted\n"


# ---- the models and the picture behind the command -------------------------------------------------------------------


def test_lenet5_has_its_layers_and_refuses_unknown_variants():
    net = pycnn.models.lenet5(input_shape=(3, 32, 30), classes=7, seed=1)
    assert list(net.layers) == ["image", "C1", "S2", "C3", "S4", "flatten", "C5", "F6", "output"]
    assert net.output_shapes == {"output": (7,)}
    with pytest.raises(ValueError, match="unknown variant '1789' of lenet5; known are modern"):
        pycnn.models.lenet5("1789")
    with pytest.raises(ValueError, match="C3"):
        pycnn.models.lenet5(input_shape=(1, 8, 8))


def test_confusion_matrix_counts_rows_of_true_and_columns_of_predicted_classes():
    counts = confusion_counts(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]), 3)
    np.testing.assert_array_equal(counts, [[1, 0, 1], [0, 1, 0], [0, 0, 1]])


def test_picture_has_only_the_parts_there_is_something_for():
    x = pycnn.Input((4,))
    net = pycnn.Network(x, L.Dense(3)(x))
    figure = training_figure(net, History(), np.zeros((5, 4)), np.zeros(5, int), title="dense")
    assert [axes.get_title() for axes in figure.axes] == ["Confusion matrix: 5 of 5 right (100.0%)"]
    history = History({"loss": [2.0, 1.0]}, [1, 2])
    images = np.zeros((5, 1, 28, 28))
    figure = training_figure(pycnn.models.lenet5(), history, images, np.zeros(5, int), class_names=list("abcdefghij"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "Loss" and titles[1].startswith("Confusion") and titles[2] == "C1: 6 filters 5x5"
