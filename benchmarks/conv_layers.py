"""The gain from the forms of `rcc_jax.models.conv` on a CPU, by layer of the network.

    python benchmarks/conv_layers.py --backbone=resnet50 --crop=161 --images=8

Each distinct convolution runs forward and backward (both gradients) in our form and as XLA's
convolution, in turns in one process, in reversed order every time. The gain is the median ratio of
a turn, with its 95% interval. On other platforms both are the same program. conv_forms.py measures
whole steps.
"""

import argparse
import collections
import json
import pathlib
import time
from unittest import mock

import environment
import jax
import jax.numpy as jnp
import numpy as np
import steps
from flax import nnx

# `environment` has put the repository on the path.
from rcc_jax.models import DeepLabV3Plus, conv, layers


def distinct_layers(backbone: str, crop: int, images: int) -> collections.Counter:
    """How often the network has each (shape of x, shape of the kernel, stride, dilation)."""
    found = collections.Counter()

    def record(x, kernel, *, stride=1, dilation=1):
        found[x.shape, kernel.shape, stride, dilation] += 1
        return conv.xla_convolution(stride, dilation, x, kernel)

    def run(x):
        return DeepLabV3Plus(21, backbone, rngs=nnx.Rngs(0))(x, train=False)

    # Equal blocks of a ResNet are one jitted function, which would be traced and counted once.
    with mock.patch.object(layers, "convolve", record), jax.disable_jit():
        jax.eval_shape(run, jax.ShapeDtypeStruct((images, crop, crop, 3), jnp.float32))
    return found


def compiled(form, x, kernel):
    """A call without arguments that runs the convolution and both gradients."""

    @jax.jit
    def run(x, kernel):
        y, pull_back = jax.vjp(form, x, kernel)
        return pull_back(y)

    program = run.lower(x, kernel).compile()
    return lambda: jax.block_until_ready(program(x, kernel))


class Timed:
    """A call that `steps.alternate` can time."""

    def __init__(self, call):
        self.call = call
        call()  # Warms up.

    def seconds(self) -> float:
        start = time.perf_counter()
        self.call()
        return time.perf_counter() - start


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--crop", type=int, default=161)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = []
    print(
        "| features | kernel | stride, dilation | layers | XLA, ms | ours, ms | gain | interval |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (shape, kernel, stride, dilation), count in distinct_layers(
        arguments.backbone, arguments.crop, arguments.images
    ).items():
        drawn = np.random.default_rng(0).standard_normal
        values = [jnp.asarray(drawn(each), jnp.float32) for each in (shape, kernel)]

        def ours(x, kernel, stride=stride, dilation=dilation):
            return conv.convolve(x, kernel, stride=stride, dilation=dilation)

        def theirs(x, kernel, stride=stride, dilation=dilation):
            return conv.xla_convolution(stride, dilation, x, kernel)

        calls = (Timed(compiled(form, *values)) for form in (theirs, ours))
        taken = steps.alternate(*calls, arguments.turns)
        gain, low, high = steps.median_interval(taken[0] / taken[1])
        seconds = [float(np.median(each)) for each in taken]
        row = {"features": shape, "kernel": kernel, "stride": stride, "dilation": dilation}
        row |= {"layers": count, "xla_seconds": seconds[0], "our_seconds": seconds[1]}
        rows.append({**row, "gain": gain, "interval": [low, high]})
        print(
            f"| {' x '.join(map(str, shape))} | {' x '.join(map(str, kernel))} "
            f"| {stride}, {dilation} | {count} | {seconds[0] * 1e3:.1f} | {seconds[1] * 1e3:.1f} "
            f"| {gain:.2f} | {low:.2f} to {high:.2f} |",
            flush=True,
        )
    if arguments.results:
        record = {**environment.describe(), "backbone": arguments.backbone, "rows": rows}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
