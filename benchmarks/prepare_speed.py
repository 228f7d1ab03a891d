"""The speed of preparing PASCAL VOC and SBD: images per second, from archives to records.

    python benchmarks/prepare_speed.py --images=3000 --threads=2
    python benchmarks/prepare_speed.py --against=../other-checkout --turns=5

Makes a VOC tar and an SBD tgz of drawn images of 500x375 in the official shares (12% VOC training,
12% VOC validation, 76% SBD masks in .mat files) and prepares them in a separate process, as `python
-m input_pipeline.prepare` does. Prints images per second, including start-up, and the peak memory.
Two sizes, one four times the other, show whether the memory grows. With `--against` this checkout
and another one prepare the larger size in turns, which compares their speed.
"""

import argparse
import io
import json
import pathlib
import resource
import subprocess
import sys
import tarfile
import tempfile
import time

import cv2
import numpy as np
import PIL.Image
import scipy.io
import scipy.sparse

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
HEIGHT, WIDTH = 375, 500
DRAWN = 12  # Number of images and masks; archives repeat them under other names.


def draw(rng: np.random.Generator) -> tuple[bytes, bytes, bytes]:
    """An image as JPEG, and a mask of a few round objects as palette PNG and as .mat."""
    noise = rng.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(cv2.resize(noise, (WIDTH, HEIGHT)), (0, 0), 2)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(rng.integers(1, 6)):
        center = (int(rng.integers(WIDTH)), int(rng.integers(HEIGHT)))
        axes = (int(rng.integers(20, 150)), int(rng.integers(20, 120)))
        cv2.ellipse(ids, center, axes, int(rng.integers(180)), 0, 360, int(rng.integers(1, 21)), -1)
    edge = cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    boundaries = np.empty((20, 1), object)
    for number in range(20):
        boundaries[number, 0] = scipy.sparse.csc_matrix(edge & (ids == number + 1))
    present = np.unique(ids[ids > 0])[:, None]
    struct = {"Boundaries": boundaries, "Segmentation": ids, "CategoriesPresent": present}
    mat, png = io.BytesIO(), io.BytesIO()
    scipy.io.savemat(mat, {"GTcls": struct}, do_compression=True)
    mask = PIL.Image.fromarray(np.where(edge, 255, ids).astype(np.uint8))
    mask.putpalette(rng.integers(0, 256, 768).astype(np.uint8).tobytes())
    mask.save(png, "PNG")
    return cv2.imencode(".jpg", image)[1].tobytes(), png.getvalue(), mat.getvalue()


def make_archives(folder: pathlib.Path, count: int) -> None:
    """Writes archives of `count` images, with the shares of the official ones."""
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(DRAWN)]
    names = [f"2008_{number:06}" for number in range(count)]
    part = count * 12 // 100
    parts = {"train": names[:part], "val": names[part : 2 * part]}

    def add(file: tarfile.TarFile, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))

    with tarfile.open(folder / "VOCtrainval_11-May-2012.tar", "w") as file:
        for split, found in parts.items():
            path = f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt"
            add(file, path, "\n".join(found).encode())
        for number, name in enumerate(names):
            image, png, _ = drawn[number % DRAWN]
            add(file, f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg", image)
            if number < 2 * part:
                add(file, f"VOCdevkit/VOC2012/SegmentationClass/{name}.png", png)
    with tarfile.open(folder / "benchmark.tgz", "w:gz", compresslevel=1) as file:
        for number, name in enumerate(names[2 * part :]):
            image, _, mat = drawn[number % DRAWN]
            add(file, f"benchmark_RELEASE/dataset/img/{name}.jpg", image)
            add(file, f"benchmark_RELEASE/dataset/cls/{name}.mat", mat)
        listed = "\n".join(names[2 * part :]).encode()
        add(file, "benchmark_RELEASE/dataset/train.txt", listed)
        add(file, "benchmark_RELEASE/dataset/val.txt", b"")


def prepare(folder: str, threads: int) -> None:
    """Runs one preparation and prints the peak memory of the process in MiB."""
    sys.path.insert(0, str(REPOSITORY))
    from input_pipeline.prepare import dataset, pascal

    options = dataset.Options(allow_counts=True, num_threads=threads)
    dataset.prepare(pascal.RECIPE, [folder], f"{folder}/data", options=options, log=lambda _: None)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure(count: int, threads: int, checkout: pathlib.Path = REPOSITORY) -> dict:
    """Seconds, images per second and memory of a preparation of `count` images by a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        make_archives(pathlib.Path(folder), count)
        start = time.perf_counter()
        script = checkout / "benchmarks" / "prepare_speed.py"  # Each checkout has its own options.
        command = [sys.executable, script, f"--prepare={folder}", f"--threads={threads}"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds = time.perf_counter() - start
    record = {"images": count, "seconds": seconds, "images_per_second": count / seconds}
    return {**record, "peak_mb": float(output)}


def measure_and_say(count: int, threads: int) -> dict:
    """`measure` of this checkout, with a line of output."""
    found = measure(count, threads)
    print(
        "{images} images: {images_per_second:.0f} images/s with start-up ({seconds:.1f} s), "
        "{peak_mb:.0f} MiB at most".format(**found),
        flush=True,
    )
    return found


def compare(count: int, threads: int, other: pathlib.Path, turns: int) -> dict:
    """Images per second of this checkout and of another one in turns, and the median ratio."""
    describe = ["git", "-C", str(other), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(describe, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    speeds = {"own": [], "other": []}
    for turn in range(turns):
        pair = [("own", REPOSITORY), ("other", other)]
        for name, checkout in pair if turn % 2 else reversed(pair):
            speeds[name].append(measure(count, threads, checkout)["images_per_second"])
        print("turn {}: {:.0f} and {:.0f} images/s".format(turn, *(s[-1] for s in speeds.values())))
    ratio = float(np.median(np.divide(speeds["own"], speeds["other"])))
    print(f"this checkout prepares {ratio:.2f} times as many images a second as {other}")
    return {"images": count, "other_commit": commit, "images_per_second": speeds, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000, help="images of the larger size")
    parser.add_argument("--threads", type=int, default=2, help="threads that convert masks")
    parser.add_argument("--against", type=pathlib.Path, help="a checkout to compare with")
    parser.add_argument("--turns", type=int, default=5, help="of each, with --against")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.prepare, arguments.threads)
        return
    if arguments.images < 100 or arguments.threads < 1 or arguments.turns < 1:
        parser.error("give at least --images=100, --threads=1 and --turns=1")
    if arguments.against:
        other = arguments.against.resolve()
        if not (other / "benchmarks" / "prepare_speed.py").is_file():
            parser.error(f"--against={arguments.against}: not a checkout with this benchmark")
        results = compare(arguments.images, arguments.threads, other, arguments.turns)
    else:
        counts = arguments.images // 4, arguments.images
        results = [measure_and_say(count, arguments.threads) for count in counts]
    if arguments.results:
        # Imported here because it loads JAX, which the preparation does not need.
        import environment

        record = {**environment.describe(), "threads": arguments.threads, "results": results}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
