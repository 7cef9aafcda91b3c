"""pycnn look: the pictures that it writes, the line that it prints, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

import pycnn
from pycnn import cli
from pycnn import layers as L
from pycnn.commands import files

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small classifier, one of two inputs, and images."""
    folder = tmp_path_factory.mktemp("look")
    x = pycnn.Input((1, 12, 12), name="image")
    h = L.Conv(4, 3, activation="relu", name="C1")(x)
    net = pycnn.Network(x, L.Dense(3, name="scores")(L.Flatten(name="flat")(L.MaxPool(2, name="S2")(h))), seed=1)
    net.training_state["command"] = {"data": "digits"}
    net.save(folder / "net.safetensors")
    x = pycnn.Input((3, 16, 16), name="image")
    pycnn.Network(x, L.Conv(6, 5, activation="relu", name="C1")(x)).save(folder / "wide.safetensors")
    a, b = pycnn.Input((4,), name="a"), pycnn.Input((4,), name="b")
    pycnn.Network([a, b], L.Dense(3, name="sum")(L.Add(name="both")([a, b]))).save(folder / "two.safetensors")
    Image.fromarray((200 * RNG.random((20, 20))).astype(np.uint8)).save(folder / "grey.png")
    Image.fromarray((255 * RNG.random((40, 48, 3))).astype(np.uint8)).save(folder / "colour.png")
    np.save(folder / "three.npy", RNG.random((3, 1, 12, 12)))
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    data = RNG.random((30, 1, 12, 12), dtype=np.float32), np.arange(30) % 3
    monkeypatch.setattr(files, "load_data", lambda name, folder: (data, data))


def look(capsys, words):
    """Exit code, and what was printed."""
    try:
        code = cli.main(["look", *words.split()])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


LOOKS = [
    ("architecture net.safetensors", "architecture.svg", "5 layers, 343 parameters"),
    ("architecture two.safetensors --out two.png", "two.png", "4 layers, 15 parameters"),
    ("maps net.safetensors C1 grey.png", "maps.png", "C1, 4 x 10 x 10"),
    ("maps net.safetensors scores three.npy", "maps.png", "scores, 3"),
    ("filters net.safetensors C1 --out weights.png", "weights.png", "C1, 4 x 1 x 3 x 3"),
    ("filters two.safetensors sum", "filters.png", "sum, 3 x 4"),
    ("embedding net.safetensors flat --samples 20", "embedding.png", "flat, 20 samples of digits"),
    ("maximize net.safetensors C1 --maps 0 2 --steps 2", "maximize.png", "C1, 2 images"),
    ("classes net.safetensors --steps 30", "classes.png", "3 images"),
    ("fool net.safetensors --target 1 --start grey.png", "fool.png", "1 image"),
    ("saliency net.safetensors grey.png --smooth 2", "saliency.png", "1 image"),
    ("guided net.safetensors three.npy --target 2", "guided.png", "3 images"),
    ("deconvnet net.safetensors grey.png three.npy", "deconvnet.png", "4 images"),
    ("grad-cam net.safetensors grey.png --layer C1", "grad-cam.png", "1 image"),
    ("integrated net.safetensors grey.png --steps 4", "integrated.png", "1 image"),
    ("dream colour.png --maps 1 --octaves 1 --steps 2", "dream.png", "48 x 40 pixels"),
    ("dream colour.png --model wide.safetensors --layer C1 --steps 2", "dream.png", "48 x 40 pixels"),
    ("style colour.png grey.png --steps 2 --model wide.safetensors --style-layers C1", "style.png", "48 x 40 pixels"),
    ("texture colour.png --steps 2 --size 30 36 --optimizer adam", "texture.png", "36 x 30 pixels"),
    ("occlusion net.safetensors grey.png --patch 4 --stride 2", "occlusion.png", "1 image"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("words", "out", "text"), LOOKS)
def test_a_look_writes_a_picture_and_says_so_in_one_line(capsys, folder, words, out, text):
    (folder / out).unlink(missing_ok=True)
    code, printed, _ = look(capsys, words)
    assert (code, printed) == (0, f"wrote {out}: {text}\n")
    if out.endswith(".png"):
        with Image.open(folder / out) as picture:
            assert np.asarray(picture.convert("L")).std() > 1
    else:
        assert (folder / out).read_text(encoding="utf-8").startswith("<svg")


def test_every_look_has_a_test():
    known = cli.parser()._subparsers._group_actions[0].choices["look"]._subparsers._group_actions[0].choices
    assert {words.split()[0] for words, _, _ in LOOKS} == known.keys()


def test_json_is_one_line(capsys):
    code, out, err = look(capsys, "filters net.safetensors C1 --json")
    assert code == 0 and out.count("\n") == 1 and err == "wrote filters.png: C1, 4 x 1 x 3 x 3\n"
    assert json.loads(out) == {"look": "filters", "file": "net.safetensors", "layer": "C1", "shape": [4, 1, 3, 3],
                               "out": "filters.png"}
    assert look(capsys, "filters net.safetensors C1 --verbose 0") == (0, "", "")


@pytest.mark.parametrize(("words", "message"), [
    ("", "arguments are required: WHAT"),
    ("fly", "invalid choice: 'fly'"),
    ("filters", "arguments are required: FILE, LAYER"),
    ("filters missing.safetensors C1", "missing.safetensors: No such file or directory"),
    ("filters grey.png C1", "grey.png: not a safetensors file"),
    ("filters net.safetensors C9", "no layer is named 'C9'; there are image, C1"),
    ("filters net.safetensors S2", "S2: a MaxPool has no filters"),
    ("filters net.safetensors C1 --out nowhere/a.png", "there is no folder 'nowhere'"),
    ("filters net.safetensors C1 --out a.gif", "the name of a picture ends in .png"),
    ("architecture net.safetensors --out a.pdf", "ends in .svg or .png"),
    ("maps net.safetensors C1 missing.png", "missing.png: No such file"),
    ("maps net.safetensors C1 net.safetensors", "not a picture that pillow can read"),
    ("maps two.safetensors sum grey.png", "has the inputs a, b; images are for a network of one"),
    ("saliency net.safetensors grey.png --target 7", "target must be from 0 to 2"),
    ("grad-cam net.safetensors grey.png --layer scores", "scores"),
    ("maximize net.safetensors C1 --maps 9 --steps 2", "map 9"),
    ("maximize net.safetensors C1 --steps 0", "'0' is not a whole number"),
    ("classes net.safetensors --target 3", "target must be from 0 to 2"),
    ("dream missing.png", "missing.png: No such file"),
    ("dream net.safetensors", "not a picture that pillow can read"),
    ("dream colour.png --layer C9", "no layer is named 'C9'"),
    ("dream colour.png --model wide.safetensors", "--layer: name one of wide.safetensors"),
    ("style colour.png grey.png --model missing.safetensors", "missing.safetensors: No such file"),
    ("texture colour.png --steps 0", "'0' is not a whole number"),
    ("embedding two.safetensors sum", "name a data set with --data"),
    ("embedding two.safetensors sum --data digits", "has the inputs a, b"),
])
def test_bad_input_is_one_line_and_exit_code_2(capsys, words, message):
    code, out, err = look(capsys, words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and message in err and err.startswith("pycnn look")
