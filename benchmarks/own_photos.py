"""A user's way: photographs, masks of a few of them, a backbone; check, train, predict, look.

    python benchmarks/own_photos.py --data=DIR --weights=FILE --folder=runs/own

DIR holds `images` and `labels` and the list `splits/train.txt`, as MSRC v2 for configs/msrc.py. The
script copies --images photographs and the masks of --masks of them into a folder as
docs/own_data.md describes it, and runs main.py in the modes check, train and predict as a user
would. It writes `looked.png` (photographs, truth, predictions), and prints the time of each command
as JSON, with --results also into a file with the settings that the run had.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
from PIL import Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import environment  # noqa: E402
from input_pipeline.partitions import lists  # noqa: E402
from rcc_jax.reporting import sheets  # noqa: E402


def choose(data: pathlib.Path, images: int, masks: int) -> tuple[list, list]:
    """Pairs (image, mask) with and without a mask, spread evenly over the list."""
    path = str(data / "splits" / "train.txt")
    pairs = list(zip(*lists.read_pairs(path, field="--data"), strict=True))
    places = np.linspace(0, len(pairs) - 1, min(images, len(pairs))).round().astype(int)
    chosen = [pairs[place] for place in places]
    labeled = {int(i) for i in np.linspace(0, len(chosen) - 1, masks).round()}
    with_mask = [pair for i, pair in enumerate(chosen) if i in labeled]
    return with_mask, [pair for i, pair in enumerate(chosen) if i not in labeled]


def lay_out(data: pathlib.Path, folder: pathlib.Path, with_mask: list, others: list) -> None:
    """The folders `images` and `masks` of a user."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for image, mask in [*with_mask, *((image, None) for image, _ in others)]:
        name = pathlib.Path(image).name
        shutil.copyfile(data / image, folder / "images" / name)
        if mask is not None:
            shutil.copyfile(data / mask, folder / "masks" / pathlib.Path(name).with_suffix(".png"))


def run(*flags: object) -> float:
    """Runs main.py; returns the seconds that it took."""
    start = time.monotonic()
    subprocess.run([sys.executable, REPOSITORY / "main.py", *map(str, flags)], check=True)
    return round(time.monotonic() - start, 1)


def look(folder: pathlib.Path, data: pathlib.Path, pairs: list, num_classes: int) -> None:
    """Writes a sheet of photographs, truth and predictions."""
    colors, rows = sheets.palette(num_classes), []
    for image, mask in pairs:
        stem = pathlib.Path(image).stem
        photo = np.asarray(Image.open(data / image).convert("RGB"))
        labels = (data / mask, next((folder / "predictions").glob(f"**/{stem}.png")))
        found = [sheets.colorize(np.asarray(Image.open(path)), colors) for path in labels]
        rows.append([photo, *found])
    sheet = sheets.sheet(
        rows,
        ["photograph", "truth", "prediction"],
        class_names=[str(number) for number in range(num_classes)],
        palette=colors,
    )
    sheets.save_png(folder / "looked.png", sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument(
        "--folder", type=pathlib.Path, required=True, help="everything is made here"
    )
    parser.add_argument("--weights", default="auto", help="model.pretrained ('auto')")
    parser.add_argument("--backbone", default="dinov2_small")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--masks", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--crop", type=int, default=168)
    parser.add_argument("--set", action="append", default=[], help="another FIELD=VALUE")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    given = parser.parse_args()

    photos, workdir = given.folder / "photos", given.folder / "run"
    with_mask, others = choose(given.data, given.images, given.masks)
    lay_out(given.data, photos, with_mask, others)
    fields = {
        "data.root": photos,
        "data.crop_size": given.crop,
        "model.pretrained": given.weights,
        "train.batch_size": 4,
        "train.num_steps": given.steps,
        "eval.every_steps": given.steps,
        **dict(each.split("=", 1) for each in given.set),
    }
    shared = [f"--config=configs/folder.py:backbone={given.backbone}", f"--workdir={workdir}"]
    shared += [f"--config.{name}={value}" for name, value in fields.items()]
    output = given.folder / "predictions"
    seconds = {
        "check": run("--mode=check", *shared),
        "train": run(*shared),
        "predict": run(
            "--mode=predict", f"--workdir={workdir}", f"--input={photos / 'images'}",
            f"--output={output}",
        ),
    }  # fmt: skip
    config = json.loads((workdir / "config.json").read_text())
    shown = others[:: max(1, len(others) // 6)][:6]
    look(given.folder, given.data, shown, config["data"]["num_classes"])
    found = {"steps": given.steps, "seconds": seconds}
    print(json.dumps(found))
    if given.results:
        started = json.loads((workdir / "environment.json").read_text())[-1]
        found |= {"images": given.images, "masks": given.masks}
        record = {**started, **found, "config": environment.without_paths(config)}
        given.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
