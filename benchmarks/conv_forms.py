"""The gain from the matrix products of `rcc_jax.models.conv` on a CPU, in UniMatch steps.

    python benchmarks/conv_forms.py --size=full

A step with matrix products and a step with only XLA's convolutions take turns in one process, as in
step_overhead.py. On other platforms both are the same program.
"""

import argparse
import functools

import environment
import numpy as np
import steps

from rcc_jax.methods import METHODS
from rcc_jax.models import conv, layers


def plain(x, kernel, *, stride=1, dilation=1):
    """`conv.convolve` as XLA's convolution."""
    return conv.xla_convolution(stride, dilation, x, kernel)


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps.add_arguments(parser)
    arguments = steps.parse(parser)
    print(steps.setting(arguments), flush=True)
    setup = steps.Setup(arguments.backbone, arguments.width, arguments.crop, arguments.batch)
    build = functools.partial(steps.Step, setup, METHODS["unimatch"]())
    ours = build()
    layers.convolve = plain
    theirs = build()
    with_products, without = steps.alternate(ours, theirs, arguments.pairs)
    gain, low, high = steps.median_interval(without / with_products)
    print(
        f"products {np.median(with_products):.3f} s, convolutions {np.median(without):.3f} s\n"
        f"convolutions / products {gain:.2f} (95% interval {low:.2f} to {high:.2f})\n"
        f"{ours.costs()}\n{theirs.costs()}"
    )
    steps.write_record(
        arguments,
        products_seconds=float(np.median(with_products)),
        convolutions_seconds=float(np.median(without)),
        gain=gain,
        gain_interval=[low, high],
        products=ours.costs(),
        convolutions=theirs.costs(),
    )


if __name__ == "__main__":
    main()
