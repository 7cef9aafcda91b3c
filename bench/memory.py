"""Kernels that are bound by memory, beside what the memory gives: a row for each kernel, as a plan calls it and as
`pycnn.functional` does from plain NCHW arrays.

A row's bytes are those that must move: each input read once, each output written once. Its bandwidth is measured in the
same run, with the same number of bytes read and written, by whichever is faster of plain and streamed stores.
"""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from tqdm import tqdm

from pycnn import _kernels as K
from pycnn import config, functional, shapes
from pycnn.storage import aligned_vector

from . import ceilings, machine
from .layers import POOL_LAYERS
from .timing import better, interleaved, threads_set

FLOAT = 4
PLAN_INDEX, FUNCTIONAL_INDEX = 4, 8     # bytes of an index of max pooling: a tap's number in a plan, else a position
RELU = (K.ACTIVATIONS.index("relu"), 0.0)
ADAM_SIZE = 10_000_000


@dataclass
class Case:
    """What is timed: bytes to read and to write by contender ("plan", "functional"), and the calls, peers' included."""

    name: str
    traffic: dict               # contender -> (bytes read, bytes written)
    calls: dict                 # name -> call; all but those in `traffic` are peers
    in_place: bool = False      # what is written was read
    operations: int = 0         # of the plan, where they are worth counting
    keep: list = field(default_factory=list)


class Plan:
    """A program over memory of its own: what a plan calls, and nothing else."""

    def __init__(self):
        self.kernels = config.kernels(np.float32)
        self.program = K.Program(self.kernels)
        self._memory = []

    def memory(self, size, fill=None):
        """Address of so many reals, random or as `fill` has them."""
        vector = aligned_vector(int(size) + self.kernels.lanes, np.float32)
        vector[:] = np.random.default_rng(0).standard_normal(vector.shape, np.float32) if fill is None else fill
        self._memory.append(vector)
        return vector.ctypes.data

    def __call__(self):
        self.program.run(threads=config.get_num_threads())


def layout_of(shape, lanes):
    """(layout, vectors): channels in the lanes if they fill them, else samples."""
    n, c = shape[:2]
    return (K.CHANNELS, n * (c // lanes)) if c % lanes == 0 else (K.SAMPLES, -(-n // lanes) * c)


# ---- cases ----------------------------------------------------------------------------------------------------------


def pooling(names):
    """Forward and backward of every pooling layer."""
    for layer in POOL_LAYERS:
        x = np.random.default_rng(0).standard_normal(layer.x_shape, np.float32)
        window = (layer.kernel, layer.stride, layer.padding)
        is_max = layer.kind == "max"
        y = functional.max_pool_forward(x, *window) if is_max else (functional.avg_pool_forward(x, *window),)
        dy = np.random.default_rng(1).standard_normal(y[0].shape, np.float32)
        forward, backward = pooling_plan(layer, y[0].shape)
        taps, positions = (y[0].size * b if is_max else 0 for b in (PLAN_INDEX, FUNCTIONAL_INDEX))
        if is_max:
            calls = {"functional": lambda: functional.max_pool_forward(x, *window)}
            gradients = {"functional": lambda: functional.max_pool_backward(dy, y[1], x.shape, *window)}
        else:
            calls = {"functional": lambda: functional.avg_pool_forward(x, *window)}
            gradients = {"functional": lambda: functional.avg_pool_backward(dy, x.shape, *window)}
        if "torch" in names:
            peers = torch_pooling(layer, x, dy)
            calls.update({name: of_pass[0] for name, of_pass in peers.items()})
            gradients.update({name: of_pass[1] for name, of_pass in peers.items()})
        work = dy.size * layer.kernel**2      # a comparison or an addition for each tap
        yield Case(f"{layer.name} forward", {"plan": (x.nbytes, dy.nbytes + taps),
                                             "functional": (x.nbytes, dy.nbytes + positions)},
                   {"plan": forward, **calls}, operations=work)
        yield Case(f"{layer.name} backward", {"plan": (dy.nbytes + taps, x.nbytes),
                                              "functional": (dy.nbytes + positions, x.nbytes)},
                   {"plan": backward, **gradients}, operations=work)


def pooling_plan(layer, y_shape):
    """Both passes as a plan calls them."""
    forward, backward = Plan(), Plan()
    _, planes = layout_of(layer.x_shape, forward.kernels.lanes)
    rank = len(layer.x_shape) - 2
    parameters = ((v,) * rank for v in (layer.kernel, layer.stride, 1, layer.padding))
    window = shapes.window(layer.x_shape[2:], y_shape[2:], *parameters)
    after = (0,) * (3 - rank) + (layer.padding,) * rank
    x, y = (planes * prod(s[2:]) * forward.kernels.lanes for s in (layer.x_shape, y_shape))
    source, dx, dy, target, taps = (forward.memory(size) for size in (x, x, y, y, y))
    if layer.kind == "max":
        forward.program.max_pool_forward(window, planes, source, target, taps)
        backward.program.max_pool_backward(window, planes, dy, taps, dx)
    else:
        forward.program.avg_pool_forward(window, after, K.TAPS_AND_PADDING, planes, source, target)
        backward.program.avg_pool_backward(window, after, K.TAPS_AND_PADDING, False, planes, dy, dx)
    backward.memory_of = forward
    forward()       # the backward pass needs its taps
    return forward, backward


def torch_pooling(layer, x, dy):
    """{name: (forward, backward)}"""
    import torch

    def passes(x, dy):
        k, s, p = ([v, v] for v in (layer.kernel, layer.stride, layer.padding))
        aten = torch.ops.aten
        if layer.kind == "max":
            _, indices = aten.max_pool2d_with_indices(x, k, s, p)
            return (lambda: aten.max_pool2d_with_indices(x, k, s, p),
                    lambda: aten.max_pool2d_with_indices_backward(dy, x, k, s, p, [1, 1], False, indices))
        return lambda: aten.avg_pool2d(x, k, s, p), lambda: aten.avg_pool2d_backward(dy, x, k, s, p, False, True, None)

    plain = [torch.from_numpy(a) for a in (x, dy)]
    last = [t.contiguous(memory_format=torch.channels_last) for t in plain]
    return {"torch": passes(*plain), "torch channels_last": passes(*last)}


def relu(names):
    for shape in dict.fromkeys(layer.x_shape for layer in POOL_LAYERS):
        name, n = "relu_" + "x".join(map(str, shape[1:3])), prod(shape)
        forward, backward = Plan(), Plan()
        x, y, dy, dx = (forward.memory(n) for _ in range(4))
        forward.program.activation_forward(RELU, n, x, y)
        backward.program.activation_backward(RELU, n, dy, y, dx)
        backward.memory_of = forward
        a, b = (np.random.default_rng(i).standard_normal(shape, np.float32) for i in range(2))
        calls = {"functional": lambda: functional.activation_forward(a, "relu")}
        gradients = {"functional": lambda: functional.activation_backward(a, b, "relu")}
        if "torch" in names:
            import torch

            ta, tb = torch.from_numpy(a), torch.from_numpy(b)
            out = torch.empty_like(ta)
            calls |= {"torch": lambda: torch.relu(ta), "torch out=": lambda: torch.clamp_min(ta, 0, out=out)}
            gradients |= {
                "torch": lambda: torch.ops.aten.threshold_backward(ta, tb, 0),
                "torch out=": lambda: torch.ops.aten.threshold_backward.grad_input(ta, tb, 0, grad_input=out),
            }
        one, two = FLOAT * n, 2 * FLOAT * n
        yield Case(f"{name} forward", dict.fromkeys(("plan", "functional"), (one, one)), {"plan": forward, **calls},
                   operations=n)
        yield Case(f"{name} backward", dict.fromkeys(("plan", "functional"), (two, one)),
                   {"plan": backward, **gradients}, operations=n)


def optimizers(names):
    """Adam and SGD with momentum, in place."""
    n, guard = ADAM_SIZE, 0
    for name, hyper, states, work in (("adam", [1, 1e-3, 0.9, 0.999, 1e-8, 0, 0, 1], 2, 12),
                                      ("sgd", [1, 1e-3, 0.9, 0, 0, 0], 1, 4)):
        plan, numbers = Plan(), np.array(hyper, np.float64)
        w, g, *state = (plan.memory(n, 0.5) for _ in range(2 + states))
        getattr(plan.program, name)([(0, n)], numbers.ctypes.data, guard, w, g, *state)
        calls = {"plan": plan}
        if "torch" in names:
            for way in ("foreach", "fused"):
                calls[f"torch {way}"] = torch_optimizer(name, n, way)
        traffic = {"plan": ((2 + states) * FLOAT * n, (1 + states) * FLOAT * n)}
        yield Case(f"{name}_10M", traffic, calls, True, work * n, [numbers])


def torch_optimizer(name, n, way):
    import torch

    w = torch.zeros(n, requires_grad=True)
    w.grad = torch.full((n,), 0.5)
    maker = {"adam": lambda **k: torch.optim.Adam([w], 1e-3, **k),
             "sgd": lambda **k: torch.optim.SGD([w], 1e-3, momentum=0.9, **k)}[name]
    return maker(**{way: True}).step


def reorders(names):
    """Between PLAIN and the layouts whose lanes are channels or samples; beside them PyTorch's channels_last."""
    for layout, name in ((K.CHANNELS, "channels"), (K.SAMPLES, "samples")):
        for shape in ((64, 64, 56, 56), (64, 6, 28, 28), (64, 256, 7, 7)):
            n, c, *spatial = shape
            if layout == K.CHANNELS and c % config.kernels(np.float32).lanes:
                continue
            into, out = Plan(), Plan()
            plain, lanes = into.memory(prod(shape)), into.memory(prod(shape))
            into.program.reorder(K.PLAIN, layout, False, n, c, prod(spatial), plain, lanes)
            out.program.reorder(layout, K.PLAIN, False, n, c, prod(spatial), lanes, plain)
            out.memory_of = into
            calls, reverse = {"plan": into}, {"plan": out}
            if "torch" in names:
                import torch

                a = torch.rand(shape)
                b = a.contiguous(memory_format=torch.channels_last)
                calls["torch"], reverse["torch"] = (lambda a=a, b=b: b.copy_(a)), (lambda a=a, b=b: a.copy_(b))
            traffic = {"plan": (FLOAT * prod(shape),) * 2}
            sizes = f"{name}_{c}x{spatial[0]}"
            yield Case(f"to_{sizes}", traffic, calls)
            yield Case(f"from_{sizes}", traffic, reverse)


CASES = [pooling, relu, optimizers, reorders]


# ---- the table ------------------------------------------------------------------------------------------------------


def main(arguments, names, threads):
    """Rows of all cases whose name contains one of `arguments.layers`, in the better of the sweeps."""
    wanted = arguments.layers
    kept, rows = {}, []
    with threads_set(threads), machine.pages_kept():
        for sweep in range(arguments.sweeps):
            last = sweep == arguments.sweeps - 1
            for cases in CASES:
                for case in tqdm(cases(names), desc=cases.__name__, leave=False, disable=None):
                    if wanted and not any(part in case.name for part in wanted):
                        continue
                    alone = {(who, i): call for who, (read, written) in case.traffic.items()
                             for i, call in enumerate(ceilings.traffic(read, written, case.in_place))}
                    times = interleaved({**case.calls, **alone}, arguments.rounds, arguments.seconds)
                    kept[case.name] = times = better(times, kept.get(case.name, {}))
                    if last:
                        if not rows:
                            print_head(threads)
                        for who in case.traffic:
                            least = min(times[key] for key in alone if key[0] == who)
                            rows.append(row_of(case, who, times, least, threads))
                            tqdm.write(text_of(rows[-1]))
    return rows


def print_head(threads):
    print(f"\nbound by memory, {threads} thread{'s' * (threads > 1)}: GB/s of what must move, of the same traffic "
          f"alone, and time of the best peer / own time")
    print(f"{'kernel':26s} {'':10s} {'MB':>6s} {'us':>7s} {'GB/s':>6s} {'memory':>6s} {'':>4s} "
          f"{'best peer':>20s} {'us':>7s} {'ratio':>6s}")


def row_of(case, who, times, alone, threads):
    """`alone`: seconds of the traffic and nothing else."""
    nbytes = sum(case.traffic[who])
    peers = {name: t for name, t in times.items() if name not in case.traffic and isinstance(name, str)}
    best = min(peers, key=peers.get) if peers else None
    return {
        "kernel": case.name, "contender": who, "threads": threads, "bytes": nbytes, "seconds": times[who],
        "gbytes": nbytes / times[who] / 1e9, "bandwidth": nbytes / alone / 1e9, "share": alone / times[who],
        "best_peer": best,
        "peer_seconds": times.get(best), "ratio": times[best] / times[who] if best else None,
    }


def text_of(r):
    text = (f"{r['kernel']:26s} {r['contender']:10s} {r['bytes'] / 1e6:6.1f} {r['seconds'] * 1e6:7.0f} "
            f"{r['gbytes']:6.1f} {r['bandwidth']:6.1f} {r['share']:4.0%}")
    if r["best_peer"]:
        text += f" {r['best_peer']:>20s} {r['peer_seconds'] * 1e6:7.0f} {r['ratio']:6.2f}"
    return text
