"""The scripts of examples/ run, each on its small setting, and leave what their first lines promise."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

SCRIPTS = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
FILES = {
    "attribution.py": {"attribution.png"},
    "autoencoder.py": {"autoencoder.png"},
    "convnet.py": {"convnet.png"},
    "deep_dream.py": {"deep_dream.png"},
    "denoiser.py": {"denoiser.png"},
    "lenet5_digits.py": {"lenet5_digits.safetensors", "lenet5_digits.png"},
    "capsnet.py": {"capsnet.png"},
    "go.py": {"go.png"},
    "gradients.py": {"gradients.png"},
    "image_networks.py": {"image_networks.png"},
    "lenet5.py": {"lenet5.png"},
    "onnx_music.py": {"onnx_music.png"},
    "sharpness.py": {"sharpness.png"},
    "stn.py": {"stn.png"},
    "style_transfer.py": {"style_transfer.png"},
    "text.py": {"text.png"},
    "what_it_likes.py": {"C1.png", "C3.png", "flatten.png", "C5.png", "output.png", "classes.png", "fooled.png"},
}

NEEDS = {       # script -> the modules and programs that it needs beside those of all
    "deep_dream.py": ("PIL", "skimage"),
    "go.py": ("sgfmill", "/usr/games/gnugo"),
    "onnx_music.py": ("onnx", "basic_pitch"),
    "text.py": ("sklearn",),
    "style_transfer.py": ("PIL", "scipy", "skimage"),
    "speech.py": ("scipy", "/usr/bin/espeak-ng"),
}


def missing(need):
    """Whether a module or program is not there."""
    return not os.path.exists(need) if "/" in need else importlib.util.find_spec(need) is None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_runs_and_leaves_its_files(script, tmp_path):
    for need in filter(missing, NEEDS.get(script.name, ())):
        pytest.skip(f"{need} is missing")
    command = [sys.executable, script, "--quick"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert {file.name for file in tmp_path.iterdir()} == FILES.get(script.name, set())
    assert len(result.stdout.splitlines()) >= 1
    assert "%|" in result.stderr        # a progress bar


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_fits_on_a_screen_and_says_what_it_shows(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert f"python {script.name} [--quick]" in ast.get_docstring(ast.parse(text))
