"""The picture of `--mode=check` shows what a training will see."""

import numpy as np
import pytest
from PIL import Image

from input_pipeline.batches.views import LabeledViews, UnlabeledViews
from rcc_jax import build
from rcc_jax.reporting import contact_sheet
from tests.support.checking import check, config_of, masks

SIDE = contact_sheet.SIDE


def test_sheet_shows_the_recipe_of_the_method(data):
    masks(data, 0, 1, 2, 3)
    config = config_of(data, **{"data.crop_size": SIDE, "seed": 9, "method.name": "augseg"})
    check(config, data, ok=True)
    with Image.open(data / "out/check.png") as image:
        sheet = np.asarray(image)
    partition = build.open_partition(config)
    views = UnlabeledViews(SIDE, 1, boxes=True, recipe="augseg", box="none")
    for row in range(2):
        own = views(partition.unlabeled[2 * row], np.random.default_rng([9, 1, 2 * row]))
        assert holds(sheet, whitened(own["strong1"], own["valid"]))
    # Labelled crop, mask and both; weak and strong view; no CutMix.
    assert 5 * SIDE <= sheet.shape[1] < 6 * SIDE


@pytest.mark.parametrize("cutmix_partner", ["other", "same"])
def test_sheet_shows_the_views_of_training(data, cutmix_partner):
    masks(data, 0, 1, 2, 3)
    fields = {"data.crop_size": SIDE, "seed": 9, "data.cutmix_partner": cutmix_partner}
    config = config_of(data, **fields)
    check(config, data, ok=True)
    picture = (data / "out/check.png").read_bytes()
    with Image.open(data / "out/check.png") as image:
        sheet = np.asarray(image)
    partition = build.open_partition(config)
    labeled = LabeledViews(SIDE)(partition.labeled[0], np.random.default_rng([9, 0, 0]))
    unlabeled = [
        UnlabeledViews(SIDE, 2, boxes=True)(
            partition.unlabeled[image], np.random.default_rng([9, 1, row])
        )
        for row, image in enumerate((0, 0, 2, 2) if cutmix_partner == "same" else range(4))
    ]
    # The masks have no ignored pixel, so where there is one the crop leaves the image: white.
    assert holds(sheet, whitened(labeled["image"], labeled["label"] != 255))
    for name in ("weak", "strong1"):
        assert not unlabeled[0]["valid"].all()
        assert holds(sheet, whitened(unlabeled[0][name], unlabeled[0]["valid"]))
    # CutMix: the partner within the box, which has an outline.
    mixed = 0
    for own, partner in (unlabeled[:2], unlabeled[2:]):
        for number, (top, left, bottom, right) in enumerate(own["boxes"].tolist(), start=1):
            if bottom > top:
                inside = slice(top + 1, bottom - 1), slice(left + 1, right - 1)
                pasted = whitened(partner[f"strong{number}"], partner["valid"])[inside]
                assert (pasted == 255).all() or holds(sheet, pasted)
                mixed += (pasted != 255).any()
    assert mixed > 1
    check(config, data, ok=True)
    assert (data / "out/check.png").read_bytes() == picture
    names = sorted(path.name for path in (data / "out").iterdir())
    assert names == ["check.json", "check.png"]
    # Without labels that can be read there are still views, and for supervised training the rest.
    (data / "m0.png").unlink()
    config.update_from_flattened_dict({"method.name": "supervised"})
    check(config, data, ok=False)
    with Image.open(data / "out/check.png") as image:
        assert image.size[0] < sheet.shape[1] / 2


def whitened(view, valid):
    return np.where(valid[..., None], view, 255)


def holds(sheet, picture) -> bool:
    """Whether a picture that is not all white is in a sheet."""
    height, width = picture.shape[:2]
    # One of its pixels that few others of the sheet equal.
    top, left = (places[0] for places in np.nonzero((picture != 255).any(-1)))
    rows, columns = np.nonzero((sheet == picture[top, left]).all(-1))
    return any(
        np.array_equal(sheet[row : row + height, column : column + width], picture)
        for row, column in zip(rows - top, columns - left, strict=True)
    )
