"""Memory of a training step: this project's, and PyTorch's UniMatch, each in its own process.

    pip install torch==2.13.0
    python benchmarks/step_memory.py --shapes=2x321,1x513
    python benchmarks/step_memory.py --largest=801 --backbone=resnet101

The first command takes a few steps and reads the largest resident memory of each process: of the
whole process, compilation included (`ru_maxrss`), and of the steps alone, minus what the process
held before it built network and batch. On a GPU the peaks of the allocators are read instead.

PyTorch's step is that of `torch_step.py`: UniMatch, without a consensus. It compares with our
UniMatch step. Our RCC steps also compute the consensus term, for which PyTorch has no step here.

The second command takes no step. XLA counts the memory of the compiled program for several batches,
which is a straight line; the largest batch of a device follows from it. XLA plans the memory of a
CPU and of a GPU differently, so run it where you train.
"""

import argparse
import importlib.metadata
import json
import pathlib
import resource
import subprocess
import sys
from collections.abc import Iterator

import environment

STEPS = 3
GIB = 2**30
PYTORCH = "PyTorch, unimatch"
VARIANTS = {
    "rcc-jax, unimatch": {"method": "unimatch"},
    "rcc-jax, rcc": {"method": "rcc"},
    "rcc-jax, rcc, remat": {"method": "rcc", "remat": True},
    PYTORCH: {"method": "torch"},
}


def peak_since_reset() -> int:
    """The largest resident memory since `reset_peak`, in bytes; Linux only."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def reset_peak() -> None:
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def child(variant: str, setting: argparse.Namespace) -> dict[str, float]:
    """Takes steps in this process; returns peaks in bytes."""
    import jax
    import steps

    from rcc_jax.methods import METHODS
    from rcc_jax.training import timing

    options = VARIANTS[variant]
    if options["method"] == "torch":
        import torch
        import torch_step

        on_gpu = torch.cuda.is_available()
    else:
        on_gpu = jax.default_backend() == "gpu"
    # What the imports and the start of the library need is not the step's.
    jax.block_until_ready(jax.numpy.zeros(1))
    reset_peak()
    before = peak_since_reset()
    setup = steps.Setup(
        setting.backbone, setting.width, setting.crop, setting.batch, remat="remat" in options
    )
    if options["method"] == "torch":
        step = torch_step.TorchStep(setup, setting)
        # What JAX needed to draw the weights; `steps.Step` returns it, too.
        timing.return_freed_memory()
    else:
        step = steps.Step(setup, METHODS[options["method"]](confidence_threshold=0.0))
    reset_peak()
    for _ in range(STEPS):
        step.seconds()
    found = {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "steps": peak_since_reset() - before,
    }
    if on_gpu and options["method"] == "torch":
        found["allocator"] = torch.cuda.max_memory_allocated()
    elif on_gpu:
        found["allocator"] = jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
    return found


def measure(arguments: argparse.Namespace) -> Iterator[list[dict]]:
    """A row for every shape and variant; yields the rows so far after each."""
    rows = []
    variants = arguments.variant or VARIANTS
    if PYTORCH in variants:
        print("PyTorch's step is UniMatch without a consensus: compare it with rcc-jax, unimatch")
    for shape in arguments.shapes.split(","):
        batch, crop = map(int, shape.split("x"))
        for variant in variants:
            command = [sys.executable, __file__, f"--child={variant}", f"--crop={crop}"]
            command += [f"--batch={batch}", f"--backbone={arguments.backbone}"]
            command.append(f"--width={arguments.width}")
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            rows.append({"batch": batch, "crop": crop, "variant": variant, **found})
            peaks = ", ".join(f"{name} {value / GIB:.2f} GiB" for name, value in found.items())
            print(f"{batch} + {batch} at {crop}, {variant}: {peaks}", flush=True)
            yield rows


def largest(arguments: argparse.Namespace) -> Iterator[list[dict]]:
    """Bytes that the compiled step needs for each number of images, and the largest number.

    Yields the rows so far after each.
    """
    import steps

    from rcc_jax.methods import METHODS

    rows = []
    memories = [float(text) for text in arguments.memories.split(",")]
    for remat in (False, True):
        needed = {}
        for batch in (1, 2, 3):
            setup = steps.Setup(
                arguments.backbone, arguments.width, arguments.largest, batch, remat=remat
            )
            needed[batch] = steps.planned_bytes(setup, METHODS["rcc"]())
            print(f"remat={remat}, {batch} + {batch}: {needed[batch] / GIB:.2f} GiB", flush=True)
        per_image = (needed[3] - needed[1]) / 2
        fixed = needed[1] - per_image
        fits = {memory: int((memory * GIB - fixed) // per_image) for memory in memories}
        rows.append(
            {
                "remat": remat,
                "needed": needed,
                "per_image": per_image,
                "fixed": fixed,
                # How far the middle point is from the line through the others.
                "bend": needed[2] / (fixed + 2 * per_image) - 1,
                "largest": fits,
            }
        )
        text = ", ".join(f"{memory:g} GiB: {count}" for memory, count in fits.items())
        print(f"remat={remat}: largest number of labelled = unlabelled images: {text}", flush=True)
        yield rows


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="2x321,1x513", help="BATCHxCROP, by commas")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only these")
    parser.add_argument("--largest", type=int, help="crop; count memory and take no step")
    parser.add_argument("--memories", default="16,24,40,80", help="GiB of a device, by commas")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--crop", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        arguments.compile, arguments.dtype = False, "float32"
        print(json.dumps(child(arguments.child, arguments)))
        return
    for rows in largest(arguments) if arguments.largest else measure(arguments):
        if arguments.results:
            record = {**environment.describe(), "backbone": arguments.backbone, "rows": rows}
            if arguments.largest:
                record["crop"] = arguments.largest
            elif PYTORCH in (arguments.variant or VARIANTS):
                record["torch"] = importlib.metadata.version("torch")
            arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
