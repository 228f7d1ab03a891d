"""Strong views per second of each recipe, compared with the same recipe written with Pillow.

    python benchmarks/recipe_speed.py

`input_pipeline` and `benchmarks/pillow_views.py` take turns on one core to change crops with the
same random draws. A turn is every crop `--draws` times. Both start from a crop in their own form,
an array or an image of Pillow's, and end with an array. The same is measured of each operation of
AugSeg and iMAS alone, with a medium amount. The crops are drawn, or cut from --data.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import pillow_views  # noqa: E402
from input_pipeline.batches import operations, photometric  # noqa: E402

Change = Callable[[np.ndarray | PIL.Image.Image, np.random.Generator], np.ndarray]

# Operation: Pillow's, and a medium amount.
OPERATIONS = {
    "autocontrast": (PIL.ImageOps.autocontrast, ()),
    "equalize": (PIL.ImageOps.equalize, ()),
    "invert": (PIL.ImageOps.invert, ()),
    "posterize": (PIL.ImageOps.posterize, (5,)),
    "solarize": (PIL.ImageOps.solarize, (128,)),
    "contrast": (lambda image, factor: PIL.ImageEnhance.Contrast(image).enhance(factor), (0.5,)),
    "brightness": (
        lambda image, factor: PIL.ImageEnhance.Brightness(image).enhance(factor),
        (0.5,),
    ),
    "color": (lambda image, factor: PIL.ImageEnhance.Color(image).enhance(factor), (0.5,)),
    "sharpness": (lambda image, factor: PIL.ImageEnhance.Sharpness(image).enhance(factor), (0.5,)),
    "hue": (pillow_views.turn_hue, (0.25,)),
    "blur": (pillow_views.blur, (1.05,)),
}


def read_or_draw(data: pathlib.Path | None, count: int, crop: int) -> list[np.ndarray]:
    """`count` crops, uint8 [crop, crop, 3]."""
    if not data:
        rng = np.random.default_rng(0)
        return [pillow_views.draw_photo(rng, crop, crop) for _ in range(count)]
    files = sorted(data.glob("*.jpg"))
    if not files:
        sys.exit(f"--data={data}: no *.jpg there.")
    photos = [PIL.Image.open(path).convert("RGB") for path in files[:: -(-len(files) // count)]]
    return [np.asarray(PIL.ImageOps.fit(photo, (crop, crop))) for photo in photos]


def compare(ours: Change, reference: Change, crops: list[np.ndarray], turns: int, draws: int):
    """Milliseconds per view of both, and the ratio of the reference's to ours."""
    import steps

    sides = ((ours, crops), (reference, [PIL.Image.fromarray(crop) for crop in crops]))
    times = np.zeros((turns, 2))
    for turn in range(-1, turns):  # Turn -1 warms up.
        for number in range(len(crops) * draws):
            for side in (0, 1) if (turn + number) % 2 else (1, 0):
                change, images = sides[side]
                rng = np.random.default_rng((turn + 1, number))
                start = time.perf_counter()
                change(images[number % len(crops)], rng)
                times[max(turn, 0), side] += (time.perf_counter() - start) * (turn >= 0)
    ratio, *interval = steps.median_interval(times[:, 1] / times[:, 0])
    mine, pillows = (1000 * np.median(times, axis=0) / (len(crops) * draws)).tolist()
    return {
        "ratio": ratio,
        "ratio_interval": interval,
        "milliseconds": {"ours": mine, "pillow": pillows},
    }


def operation_sides(name: str) -> tuple[Change, Change]:
    """An operation with its medium amount, ours and Pillow's."""
    pillows, amounts = OPERATIONS[name]
    ours = getattr(operations, name)
    return (
        lambda image, rng: ours(image, *amounts),
        lambda image, rng: np.asarray(pillows(image, *amounts)),
    )


def recipe_sides(name: str) -> tuple[Change, Change]:
    """A recipe, ours and Pillow's."""
    ours, pillows = photometric.RECIPES[name], pillow_views.RECIPES[name]
    return ours, lambda image, rng: np.asarray(pillows(image, rng))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", default="321,513", help="sides of the crops, comma-separated")
    parser.add_argument("--images", type=int, default=8, help="different crops")
    parser.add_argument("--turns", type=int, default=16)
    parser.add_argument("--draws", type=int, default=8, help="views of each crop in a turn")
    parser.add_argument("--data", type=pathlib.Path, help="folder of *.jpg instead of drawn images")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    if min(arguments.images, arguments.turns, arguments.draws) < 1:
        parser.error("give at least --images=1, --turns=1 and --draws=1")

    cv2.setNumThreads(1)  # As in training.
    load = os.getloadavg()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    record = {"images": arguments.images, "turns": arguments.turns, "draws": arguments.draws}
    record |= {"opencv": cv2.__version__, "pillow": PIL.__version__, "load": load}
    record |= {"recipes": {}, "operations": {}}
    for crop in (int(x) for x in arguments.crops.split(",")):
        crops = read_or_draw(arguments.data, arguments.images, crop)
        for kind, names, sides, draws in (
            ("recipes", pillow_views.RECIPES, recipe_sides, arguments.draws),
            ("operations", OPERATIONS, operation_sides, 1),
        ):
            found = {n: compare(*sides(n), crops, arguments.turns, draws) for n in names}
            record[kind][crop] = found
            print(f"crop {crop}: Pillow's time / ours, milliseconds of Pillow and ours")
            for name, each in found.items():
                low, high = each["ratio_interval"]
                both = "{pillow:.3f} and {ours:.3f}".format(**each["milliseconds"])
                print(f"  {name:12} {each['ratio']:5.2f} ({low:.2f} to {high:.2f}), {both}")
    if arguments.results:
        import environment

        arguments.results.write_text(
            json.dumps({**environment.describe(), **record}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
