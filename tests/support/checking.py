"""Images of stripes with masks and lists, and the report of `--mode=check` on them."""

import json

import numpy as np
from PIL import Image

from configs import folder
from rcc_jax.commands import check as command


def save(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def masks(root, *values):
    """Masks of stripes, each of one value or colour."""
    for number in range(8):
        stripes = np.asarray(values)[np.arange(50) * len(values) // 50]
        save(root / f"m{number}.png", np.repeat(stripes[:, None], 60, axis=1))


def config_of(root, **fields):
    config = folder.get_config("method=rcc")
    for name, value in {
        "data.root": str(root), "data.labeled": "labeled.txt", "data.unlabeled": "unlabeled.txt",
        "data.val": "val.txt", "data.num_classes": 4, "data.crop_size": 32,
        "method.top_n": 4, **fields,
    }.items():  # fmt: skip
        config.update_from_flattened_dict({name: value})
    return config


def proposed(report, kind=None):
    sets = [item["set"] for item in report["proposals"] if kind in (None, item["for"])]
    return [fields for fields in sets if fields]


def check(config, root, *, ok):
    assert command.check(config, root / "out") is ok
    report = json.loads((root / "out/check.json").read_text())
    assert report["ok"] is ok
    return report


def lists(root):
    """Writes twelve images 60x50 and lists; masks are for the test to write with `masks`."""
    rng = np.random.default_rng(0)
    for number in range(12):
        save(root / f"{number}.png", rng.integers(0, 256, (50, 60, 3)))
    pairs = [f"{number}.png m{number}.png\n" for number in range(8)]
    (root / "labeled.txt").write_text("".join(pairs[:4]))
    (root / "val.txt").write_text("".join(pairs[4:]))
    (root / "unlabeled.txt").write_text("".join(f"{number}.png\n" for number in range(8, 12)))
