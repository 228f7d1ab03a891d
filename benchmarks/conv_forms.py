"""The gain from the forms of `rcc_jax.models.conv` on a CPU, in UniMatch steps.

    python benchmarks/conv_forms.py --size=full
    python benchmarks/conv_forms.py --size=full --forms=all,pointwise,dilated,winograd

A step with our forms and a step with only XLA's convolutions take turns in one process, as in
step_overhead.py. --forms names the kinds of convolution that have our form; each set takes turns
with the plain step. On other platforms all are the same program.
"""

import argparse
import contextlib
from collections.abc import Iterator
from unittest import mock

import environment
import jax
import numpy as np
import steps

from rcc_jax.methods import METHODS
from rcc_jax.models import conv, layers

KINDS = ("pointwise", "dilated", "winograd")


def kind(size: int, dilation: int) -> str:
    """The kind whose form `conv.convolve` considers for a kernel of this size."""
    if size == 1:
        return "pointwise"
    return "dilated" if dilation > 1 else "winograd"


@contextlib.contextmanager
def using(form: str) -> Iterator[None]:
    """The network takes our form for one kind of convolution, for 'all' or for 'none'."""

    def convolve(x, kernel, *, stride=1, dilation=1):
        if form in ("all", kind(len(kernel), dilation)):
            return conv.convolve(x, kernel, stride=stride, dilation=dilation)
        return conv.xla_convolution(stride, dilation, x, kernel)

    # JAX keeps traced blocks, which would bring the forms of an earlier step into this one.
    jax.clear_caches()
    with mock.patch.object(layers, "convolve", convolve):
        yield
    jax.clear_caches()


def build(form: str, setup: steps.Setup) -> steps.Step:
    with using(form):
        return steps.Step(setup, METHODS["unimatch"]())


def compare(ours: steps.Step, theirs: steps.Step, pairs: int) -> dict:
    """Prints and returns seconds, gain and costs of a step with our forms and a plain one."""
    with_products, without = steps.alternate(ours, theirs, pairs)
    gain, low, high = steps.median_interval(without / with_products)
    print(
        f"products {np.median(with_products):.3f} s, convolutions {np.median(without):.3f} s\n"
        f"convolutions / products {gain:.2f} (95% interval {low:.2f} to {high:.2f})\n"
        f"{ours.costs()}\n{theirs.costs()}",
        flush=True,
    )
    return {
        "products_seconds": float(np.median(with_products)),
        "convolutions_seconds": float(np.median(without)),
        "gain": gain,
        "gain_interval": [low, high],
        "products": ours.costs(),
        "convolutions": theirs.costs(),
    }


def parse_forms(text: str) -> list[str]:
    """Names of forms by commas, each once."""
    names = text.split(",")
    if unknown := [name for name in names if name not in ("all", *KINDS)]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}: use all, {', '.join(KINDS)}")
    return list(dict.fromkeys(names))


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps.add_arguments(parser)
    parser.add_argument(
        "--forms",
        type=parse_forms,
        default="all",
        help=f"'all' or the kind with our form, of {', '.join(KINDS)}; several by commas",
    )
    arguments = steps.parse(parser)
    print(steps.setting(arguments), flush=True)
    setup = steps.Setup(arguments.backbone, arguments.width, arguments.crop, arguments.batch)
    theirs = build("none", setup)
    found = {}
    for form in arguments.forms:
        if arguments.forms != ["all"]:
            print(f"{form}:")
        found[form] = compare(build(form, setup), theirs, arguments.pairs)
    steps.write_record(arguments, **(found["all"] if list(found) == ["all"] else {"forms": found}))


if __name__ == "__main__":
    main()
