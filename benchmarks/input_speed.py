"""Samples per second of the input pipeline, compared with the recipe's own tool, Pillow.

    python benchmarks/input_speed.py
    python benchmarks/input_speed.py --size=full

First, `input_pipeline` and `benchmarks/pillow_views.py` take turns on one core to make a weak and
two strong views from the bytes of a JPEG of 500x375, with the same random draws. A turn is every
image once. Next, our views and views that shrink by OpenCV's INTER_AREA, which is faster and less
smooth, take turns image by image. Last, the whole stream makes batches of 8 labelled, 8 unlabelled
and 8 partner images, with --threads of one process or with --workers, processes of one thread. The
images are drawn, or read from --data.

--size=full has the crops and the lists of PASCAL VOC with 92 labels, and more threads and processes
for a machine with a GPU. Options that are given win over those of the size.
"""

import argparse
import collections
import functools
import json
import os
import pathlib
import sys
import tempfile
import time

import cv2
import numpy as np
import PIL.Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import input_pipeline  # noqa: E402
from benchmarks import pillow_views  # noqa: E402
from input_pipeline.batches import photometric, views  # noqa: E402
from input_pipeline.sources import images  # noqa: E402

HEIGHT, WIDTH, JPEG_QUALITY = 375, 500, 95
BATCH = 8
# Defaults of the options of these names, and the lengths of the lists.
SIZES = {
    "small": {
        "crops": "321,513", "threads": "1,2", "workers": "1,2",
        "images": 16, "turns": 16, "batches": 16,
        "listed": {"labeled": 183, "val": 1, "unlabeled": 2000},
    },
    "full": {
        "crops": "321,513", "threads": "1,2,4,8,16", "workers": "1,2,4,8,16",
        "images": 64, "turns": 16, "batches": 64,
        "listed": {"labeled": 92, "val": 1, "unlabeled": 10_490},
    },
}  # fmt: skip
# The functions of each stage, here and in the reference, whose time is measured.
STAGES = {
    "decode": ((images, "decode_image"), (pillow_views, "decode")),
    "resize and crop": ((views, "crop_image"), (pillow_views, "weak_view")),
    "jitter": ((photometric, "color_jitter"), (pillow_views, "color_jitter")),
    "blur": ((photometric, "gaussian_blur"), (pillow_views, "blur")),
}


def read_or_draw(data: pathlib.Path | None, count: int) -> list[bytes]:
    """The bytes of `count` JPEGs."""
    if data:
        files = sorted(data.glob("*.jpg"))
        if not files:
            sys.exit(f"--data={data}: no *.jpg there.")
        return [path.read_bytes() for path in files[:: -(-len(files) // count)]]
    rng = np.random.default_rng(0)
    encode = functools.partial(
        cv2.imencode, ".jpg", params=(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    )
    photos = [pillow_views.draw_photo(rng, HEIGHT, WIDTH) for _ in range(count)]
    return [encode(photo[..., ::-1])[1].tobytes() for photo in photos]


class Timed:
    """Adds up the seconds inside the functions of the stages."""

    def __init__(self):
        self.seconds = collections.defaultdict(float)
        for stage, places in STAGES.items():
            for side, (module, name) in zip(("ours", "reference"), places, strict=True):
                setattr(module, name, self._timed(getattr(module, name), (side, stage)))

    def _timed(self, function, key):
        def timed(*arguments):
            start = time.perf_counter()
            result = function(*arguments)
            self.seconds[key] += time.perf_counter() - start
            return result

        return timed


def compare(files: list[bytes], crop: int, turns: int, timed: Timed) -> dict:
    """Milliseconds per sample of both, by stage, and the ratio of the reference to ours."""
    import steps

    make = views.UnlabeledViews(crop, 2, boxes=True)
    sides = {
        "ours": lambda data, rng: make({"image": images.decode_image(data, "")}, rng),
        "reference": lambda data, rng: pillow_views.unlabeled_views(
            pillow_views.decode(data), rng, crop
        ),
    }
    times = {name: np.zeros(turns) for name in sides}
    for turn in range(-1, turns):  # Turn -1 warms up.
        for name in sorted(sides, reverse=turn % 2 == 1):
            start = time.perf_counter()
            for number, data in enumerate(files):
                sides[name](data, np.random.default_rng((turn + 1, number)))
            if turn >= 0:
                times[name][turn] = time.perf_counter() - start
        if turn < 0:
            timed.seconds.clear()
    ratio, *interval = steps.median_interval(times["reference"] / times["ours"])
    record = {"crop": crop, "turns": turns, "ratio": ratio, "ratio_interval": interval}
    for name in sides:
        each = {stage: timed.seconds[name, stage] / turns for stage in STAGES}
        each["all"] = float(np.median(times[name]))
        record[name] = {stage: 1000 * x / len(files) for stage, x in each.items()}
    print(f"crop {crop}: reference / ours {ratio:.2f} ({interval[0]:.2f} to {interval[1]:.2f})")
    for name in ("reference", "ours"):
        by_stage = ", ".join(f"{stage} {x:.2f}" for stage, x in record[name].items())
        print(f"  {name}, ms per sample: {by_stage}; {1000 / record[name]['all']:.0f} samples/s")
    return record


def shrink_by_areas(image: np.ndarray, geometry: views.Geometry, crop: int) -> np.ndarray:
    """Replaces `views.shrink_window`."""
    size = (geometry.width, geometry.height)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return resized[geometry.top : geometry.top + crop, geometry.left : geometry.left + crop]


def compare_shrinking(files: list[bytes], crop: int, turns: int) -> dict:
    """Samples per second of our views, relative to views that shrink by INTER_AREA."""
    import steps

    make = views.UnlabeledViews(crop, 2, boxes=True)
    forms = (views.shrink_window, shrink_by_areas)
    times = np.zeros((turns, 2))
    for turn in range(-1, turns):  # Turn -1 warms up.
        for number, data in enumerate(files):
            for side in (0, 1) if (turn + number) % 2 else (1, 0):
                views.shrink_window = forms[side]
                rng = np.random.default_rng((turn + 1, number))
                start = time.perf_counter()
                make({"image": images.decode_image(data, "")}, rng)
                times[max(turn, 0), side] += (time.perf_counter() - start) * (turn >= 0)
    views.shrink_window = forms[0]
    ratio, *interval = steps.median_interval(times[:, 1] / times[:, 0])
    ours, areas = (1000 * np.median(times, axis=0) / len(files)).tolist()
    print(
        f"crop {crop}: samples per second, ours / INTER_AREA {ratio:.2f} ({interval[0]:.2f} to "
        f"{interval[1]:.2f}); {ours:.2f} and {areas:.2f} ms per sample"
    )
    record = {"crop": crop, "turns": turns, "ratio": ratio, "ratio_interval": interval}
    return {**record, "milliseconds": {"ours": ours, "inter_area": areas}}


def stream_speed(root: pathlib.Path, crop: int, threads: int, workers: int, batches: int) -> dict:
    """Batches per second of the whole stream, after the buffers are full."""
    partition = input_pipeline.open_partition(
        source="folder",
        root=str(root),
        labeled="labeled.txt",
        unlabeled="unlabeled.txt",
        val="val.txt",
        num_classes=21,
    )
    skipped = (threads + 2) * max(workers, 1) + 4  # More than are prefetched.
    stream = input_pipeline.train_stream(
        partition,
        seed=0,
        crop_size=crop,
        labeled_batch_size=BATCH,
        unlabeled_batch_size=BATCH,
        num_steps=skipped + batches,
        num_threads=threads,
        num_workers=workers,
    )
    with stream:
        for _ in range(skipped):
            next(stream)
        start = time.perf_counter()
        for _ in range(batches):
            next(stream)
        seconds = (time.perf_counter() - start) / batches
    # Three batches: labelled, unlabelled and partners.
    rate = 2 * BATCH / seconds
    made_by = f"{workers} processes" if workers else f"{threads} threads"
    print(f"  stream, {made_by}: {1 / seconds:.2f} batches/s, {rate:.0f} samples/s", flush=True)
    record = {"crop": crop, "threads": threads, "workers": workers, "batches": batches}
    return {**record, "batches_per_second": 1 / seconds, "samples_per_second": rate}


def write_folder(root: pathlib.Path, files: list[bytes], listed: dict[str, int]) -> None:
    """Writes the images, masks of blocks, and lists of the given lengths.

    The lists have a realistic length: grain needs milliseconds per entry to shuffle a short list.
    """
    rng = np.random.default_rng(0)
    for number, data in enumerate(files):
        (root / f"{number}.jpg").write_bytes(data)
        height, width = images.decode_image(data, "").shape[:2]
        blocks = rng.integers(0, 21, (7, 9)).astype(np.uint8)
        mask = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
        PIL.Image.fromarray(mask).save(root / f"{number}.png")
    start = 0
    for name, count in listed.items():
        lines = []
        for number in range(start, start + count):
            os.link(root / f"{number % len(files)}.jpg", root / f"{name}{number}.jpg")
            os.link(root / f"{number % len(files)}.png", root / f"{name}{number}.png")
            lines.append(f"{name}{number}.jpg {name}{number}.png\n")
        (root / f"{name}.txt").write_text("".join(lines))
        start += count


def parse(command: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line and fills in the defaults of the size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small", help="sets the other defaults")
    parser.add_argument("--crops", help="sides of the views, comma-separated")
    parser.add_argument("--threads", help="numbers of threads, comma-separated")
    parser.add_argument("--workers", help="numbers of worker processes, likewise")
    parser.add_argument("--images", type=int, help="different images, at least 4")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--batches", type=int, help="timed batches; 0 = no stream")
    parser.add_argument("--data", type=pathlib.Path, help="folder of *.jpg instead of drawn images")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args(command)
    for name, value in SIZES[arguments.size].items():
        if getattr(arguments, name, None) is None:
            setattr(arguments, name, value)
    if arguments.images < 4 or arguments.turns < 1 or arguments.batches < 0:
        parser.error("give at least --images=4, --turns=1 and --batches=0")
    return arguments


def main() -> None:
    arguments = parse()
    crops, threads, workers = (
        [int(x) for x in text.split(",")]
        for text in (arguments.crops, arguments.threads, arguments.workers)
    )
    makers = [(count, 0) for count in threads] + [(1, count) for count in workers]
    files = read_or_draw(arguments.data, arguments.images)
    print(f"{len(files)} JPEGs of {sum(map(len, files)) / len(files) / 1000:.0f} kB")

    streams = []
    with tempfile.TemporaryDirectory() as root:
        write_folder(pathlib.Path(root), files, arguments.listed)
        for crop in crops if arguments.batches else ():
            print(f"crop {crop}")
            for maker in makers:
                streams.append(stream_speed(pathlib.Path(root), crop, *maker, arguments.batches))
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    # More turns, because a turn is a third as long and only a third of the draws shrink.
    shrinking = [compare_shrinking(files, crop, 3 * arguments.turns) for crop in crops]
    timed = Timed()
    compared = [compare(files, crop, arguments.turns, timed) for crop in crops]
    os.sched_setaffinity(0, cores)
    if arguments.results:
        import environment

        record = {**environment.describe(), "jpeg_bytes": sum(map(len, files)) // len(files)}
        record |= {"size": arguments.size, "listed": arguments.listed}
        record |= {"against_pillow": compared, "against_inter_area": shrinking, "streams": streams}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
