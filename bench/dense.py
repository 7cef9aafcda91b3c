"""Dense layers: each pass as a plan calls it, beside PyTorch."""

import numpy as np

import pycnn
from pycnn import _kernels as K
from pycnn import config
from pycnn.storage import aligned_vector

from . import ceilings
from .layers import PASSES
from .timing import interleaved, threads_set

DENSE_LAYERS = [        # (N, C, K)
    (64, 512, 1000), (8, 512, 1000), (1, 512, 1000), (64, 400, 120), (64, 120, 84), (64, 84, 10),
    (1, 400, 120), (1, 120, 84), (1, 84, 10), (64, 4096, 128),
]


class DenseCall:
    """One pass of a dense layer: y = x w^T + b, or one of its gradients. Calling it runs the kernel once."""

    def __init__(self, n, c, k, which):
        self._program = K.Program(config.kernels(np.float32))
        rng, none = np.random.default_rng(0), (0, 0.0)
        self.arrays = {name: aligned_vector(size, np.float32)
                       for name, size in (("x", n * c), ("w", k * c), ("b", k), ("y", n * k))}
        for array in self.arrays.values():
            array[:] = rng.uniform(-1, 1, array.shape)
        x, w, b, y = (a.ctypes.data for a in self.arrays.values())
        if which == "forward":
            self._program.dense_forward(n, c, k, none, x, w, b, y)
        elif which == "backward_data":
            self._program.dense_backward_data(n, c, k, none, y, w, 0, x)
        else:
            self._program.dense_backward_weights(n, c, k, False, None, y, x, w, b)

    def __call__(self):
        self._program.run(threads=pycnn.get_num_threads())


def torch_dense(n, c, k, which):
    """The same pass in PyTorch, its results in arrays that are kept."""
    import torch

    x, w, b, y = torch.randn(n, c), torch.randn(k, c), torch.randn(k), torch.randn(n, k)

    def call():
        with torch.inference_mode():
            if which == "forward":
                torch.addmm(b, x, w.t(), out=y)
            elif which == "backward_data":
                torch.mm(y, w, out=x)
            else:
                torch.mm(y.t(), x, out=w)
                torch.sum(y, 0, out=b)
    return call


def bench_dense(threads, names, rounds, seconds):
    """One row for each layer and pass; `names` are those of the peers."""
    rows = []
    with threads_set(threads):
        peak = ceilings.fma_peak(threads)
        print(f"\n{'dense layer':16s} {'pass':16s} {'plan':>6s} {'%peak':>6s} {'GB/s':>6s} {'torch':>6s} {'plan/torch':>10s}   "
              f"GFLOP/s; GB/s of weights, input and output together")
        for n, c, k in DENSE_LAYERS:
            for which in PASSES:
                calls = {"plan": DenseCall(n, c, k, which)}
                if "torch" in names:
                    calls["torch"] = torch_dense(n, c, k, which)
                times = interleaved(calls, rounds, seconds)
                speeds = {name: 2 * n * c * k / t / 1e9 for name, t in times.items()}
                gbytes = 4 * (n * c + c * k + n * k) / times["plan"] / 1e9
                rows.append({"layer": f"{n}x{c} to {k}", "pass": which, "threads": threads, "gflops": speeds,
                             "peak": peak, "gbytes": gbytes})
                text = (f"{rows[-1]['layer']:16s} {which:16s} {speeds['plan']:6.1f} {100 * speeds['plan'] / peak:5.0f}% "
                        f"{gbytes:6.1f}")
                if "torch" in speeds:
                    text += f" {speeds['torch']:6.1f} {speeds['plan'] / speeds['torch']:10.2f}"
                print(text, flush=True)
    return rows
