"""What a long list of unlabelled images adds to a start: seconds and memory.

    python benchmarks/long_list.py --images=1000000

Opens and checks a partition of eight labelled and as many unlabelled images, then one with the
long list, each in a process of its own, and prints the difference. Of the long list only the
images that the check looks at exist; it looks at a sample.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SAMPLE = 200
SHORT = 8


def path_of(number: int) -> str:
    """Of the usual length and shape of a path in a large collection."""
    return f"unlabeled/part_{number // 10_000:04}/frame_{number:08}.jpg"


def make_data(root: pathlib.Path, count: int) -> None:
    """Writes the lists and the images that are looked at."""
    names = [f"images/{number}" for number in range(2 * SHORT)]
    rows = [f"{name}.jpg {name}.png\n" for name in names]
    (root / "labeled.txt").write_text("".join(rows[:SHORT]))
    (root / "val.txt").write_text("".join(rows[SHORT:]))
    for name, length in (("short.txt", SHORT), ("long.txt", count)):
        with open(root / name, "w") as file:
            file.writelines(f"{path_of(number)}\n" for number in range(length))
    looked_at = {*range(SHORT), *np.linspace(0, count - 1, SAMPLE).astype(int).tolist()}
    paths = [f"{name}.jpg" for name in names] + [path_of(number) for number in looked_at]
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(root / path)
    for name in names:
        PIL.Image.fromarray(pixels[..., 0] % 3).save(root / f"{name}.png")


def open_data(root: str, unlabeled: str) -> dict:
    """Seconds of opening and checking, and the most memory that the process ever held."""
    sys.path.insert(0, str(REPOSITORY))
    import input_pipeline

    start = time.perf_counter()
    partition = input_pipeline.open_partition(
        source="folder",
        root=root,
        labeled="labeled.txt",
        unlabeled=unlabeled,
        val="val.txt",
        num_classes=3,
    )
    input_pipeline.check_partition(partition)
    with input_pipeline.train_stream(
        partition,
        seed=0,
        crop_size=32,
        labeled_batch_size=1,
        unlabeled_batch_size=1,
        num_steps=1,
        num_threads=1,
    ):
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak, "images": len(partition.unlabeled)}


def measure(count: int) -> dict:
    """The same with the short and the long list, and their difference."""
    found = {}
    with tempfile.TemporaryDirectory() as root:
        make_data(pathlib.Path(root), count)
        for name in ("short", "long"):
            command = [sys.executable, __file__, f"--open={root}", f"--unlabeled={name}.txt"]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name] = json.loads(output)
    for quantity in ("seconds", "peak_mb"):
        found[f"added_{quantity}"] = found["long"][quantity] - found["short"][quantity]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000, help="length of the list")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    parser.add_argument("--unlabeled", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(open_data(arguments.open, arguments.unlabeled)))
        return
    if arguments.images < SHORT:
        parser.error(f"--images={arguments.images}: give at least {SHORT}")
    found = measure(arguments.images)
    print(
        f"{arguments.images} images add {found['added_seconds']:.2f} s and "
        f"{found['added_peak_mb']:.0f} MiB at most to a start"
    )
    if arguments.results:
        # Here and not above: it loads JAX, whose memory is not what is measured.
        import environment

        record = {**environment.describe(), "images": arguments.images, **found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
