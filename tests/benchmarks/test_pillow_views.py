"""Our views compared with those made by Pillow: brightness, contrast, colours, edges."""

import cv2
import numpy as np
import PIL.Image
import pytest

from benchmarks import pillow_views
from input_pipeline.batches import photometric, views

SAMPLES, CROP = 100, 161  # Each sample has a weak view and two strong views.
# Mean distance of a view from the reference's of the same draws, relative to the mean of the
# statistic; of histograms the share of pixels in another of 16 bins.
TOLERANCES = {
    "weak": {"mean": 0.005, "spread": 0.005, "colour": 0.005, "edges": 0.01, "histogram": 0.01},
    "strong": {"mean": 0.02, "spread": 0.01, "colour": 0.025, "edges": 0.04, "histogram": 0.04},
}


def statistics(view: np.ndarray) -> dict[str, np.ndarray]:
    gray = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(np.float32)
    counts = [cv2.calcHist([view], [c], None, [16], [0, 256]).ravel() for c in range(3)]
    return {
        "mean": view.mean((0, 1)),
        "spread": view.std((0, 1)),
        "colour": (view.max(2) - view.min(2)).mean(),
        "edges": np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean(),
        "histogram": np.array(counts) / gray.size,
    }


def collect(make, images) -> tuple[dict[str, list[dict]], list[np.ndarray], list[np.ndarray]]:
    """Statistics of the weak and of the strong views, masks of validity, and boxes."""
    found, valid, boxes = {"weak": [], "strong": []}, [], []
    for number in range(SAMPLES):
        made = make(images[number % len(images)], np.random.default_rng(number))
        found["weak"].append(statistics(made["weak"]))
        found["strong"] += [statistics(made[name]) for name in ("strong1", "strong2")]
        valid.append(made["valid"])
        boxes.append(made["boxes"])
    return found, valid, boxes


def our_views(image: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return views.UnlabeledViews(CROP, 2, boxes=True)({"image": image}, rng)


def too_far(ours: dict[str, list[dict]], expected: dict[str, list[dict]]) -> dict[str, float]:
    """The statistics beyond their tolerance, with their distance."""
    beyond = {}
    for kind, tolerances in TOLERANCES.items():
        for name, tolerance in tolerances.items():
            a, b = (np.array([view[name] for view in each[kind]]) for each in (ours, expected))
            distance = np.abs(a - b).mean() / b.mean()
            if name == "histogram":
                distance = np.abs(a - b).sum(-1).mean() / 2
            if not distance < tolerance:
                beyond[f"{name} of {kind} views"] = distance
    return beyond


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [pillow_views.draw_photo(rng, 188, 250) for _ in range(12)]


def reference(images):
    return collect(
        lambda image, rng: pillow_views.unlabeled_views(PIL.Image.fromarray(image), rng, CROP),
        images,
    )


@pytest.fixture(scope="module")
def expected(photos):
    return reference(photos)


def test_views_look_like_pillows(expected, photos):
    ours, valid, boxes = collect(our_views, photos)
    assert too_far(ours, expected[0]) == {}
    np.testing.assert_array_equal(valid, expected[1])
    np.testing.assert_array_equal(boxes, expected[2])
    # The views do vary; otherwise their equality would say little.
    means = np.array([view["mean"].mean() for view in ours["strong"]])
    assert means.std() > 20
    assert 0.1 < np.mean([not mask.all() for mask in valid]) < 0.9


def test_views_of_camvid_look_like_pillows(shared_data):
    files = sorted((shared_data / "camvid" / "images").glob("*.jpg"))
    frames = [cv2.imread(str(path))[::2, ::2, ::-1].copy() for path in files[:: len(files) // 10]]
    ours, valid, _ = collect(our_views, frames)
    expected, expected_valid, _ = reference(frames)
    assert too_far(ours, expected) == {}
    # The reference rounds half a pixel up, Python rounds it to even.
    assert np.mean(np.array(valid) != np.array(expected_valid)) < 0.001


@pytest.mark.parametrize("recipe", ["augseg", "imas"])
def test_recipes_of_operations_equal_pillows(photos, recipe):
    different, changed = [], []
    for seed in range(120):
        image = photos[seed % len(photos)]
        ours, rng = np.random.default_rng(seed), np.random.default_rng(seed)
        view = photometric.strong_view(image, ours, recipe)
        expected = np.asarray(pillow_views.RECIPES[recipe](PIL.Image.fromarray(image), rng))
        assert ours.bit_generator.state == rng.bit_generator.state
        different.append((view != expected).mean())
        changed.append((view != image).any())
    # Most views are equal, and the others in nearly all values.
    assert np.mean(np.array(different) == 0) > 0.7
    assert np.mean(different) < 0.001
    assert np.mean(changed) > 0.9


def edge_energy(image: np.ndarray) -> float:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    return (np.diff(gray, axis=0) ** 2).mean() + (np.diff(gray, axis=1) ** 2).mean()


def edge_ratio(images: list[np.ndarray], scale: float) -> float:
    """Edge energy of our resized images in units of Pillow's."""
    ours, pillows = [], []
    for image in images:
        height, width = (round(side * scale) for side in image.shape[:2])
        geometry = views.Geometry(height=height, width=width, top=0, left=0, flip=False)
        crop = views.crop_image(image, geometry, max(height, width))
        ours.append(edge_energy(crop[:height, :width]))
        resized = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR)
        pillows.append(edge_energy(np.asarray(resized)))
    return sum(ours) / sum(pillows)


@pytest.fixture(scope="module", params=["camvid", "msrc", "drawn"])
def scenes(request) -> list[np.ndarray]:
    """Photographs of a data set where there are any, and drawn ones."""
    if request.param == "drawn":
        rng = np.random.default_rng(6)
        return [pillow_views.draw_photo(rng, 213, 320) for _ in range(8)]
    folder = request.getfixturevalue("shared_data") / request.param / "images"
    files = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".bmp"))
    return [cv2.imread(str(path))[..., ::-1].copy() for path in files[:: len(files) // 8]]


@pytest.mark.parametrize("scale", [0.5, 0.6, 0.75, 0.9, 1.5])
def test_edges_at_every_scale_are_pillows(scenes, scale):
    assert edge_ratio(scenes, scale) == pytest.approx(1, abs=0.01)


def test_shrinking_the_crop_alone_is_a_crop_of_the_shrunk_image(photos):
    rng = np.random.default_rng(7)
    for image in photos:
        height, width = (int(side * rng.uniform(0.5, 1)) for side in image.shape[:2])
        top, left = int(rng.integers(height - 60)), int(rng.integers(width - 60))
        geometry = views.Geometry(height=height, width=width, top=top, left=left, flip=False)
        resized = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR)
        expected = np.asarray(resized)[top : top + 60, left : left + 60].astype(int)
        assert np.abs(views.crop_image(image, geometry, 60) - expected).max() <= 1


def shrink_by_areas(image, geometry, crop_size):
    size = (geometry.width, geometry.height)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return resized[
        geometry.top : geometry.top + crop_size, geometry.left : geometry.left + crop_size
    ]


_HUE, _BLUR, _RESIZE = photometric.adjust_hue, photometric.gaussian_blur, cv2.resize


def _contrast_about_half(image, factor):
    levels = np.arange(256.0)
    curve = np.clip(np.rint(127.5 + factor * (levels - 127.5)), 0, 255)
    return cv2.LUT(image, curve.astype(np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (photometric, "adjust_hue", lambda image, turn: image),
        (photometric, "adjust_hue", lambda image, turn: _HUE(image, 0.7 * turn)),
        (photometric, "gaussian_blur", lambda image, sigma: _BLUR(image, 2 * sigma)),
        (photometric, "adjust_contrast", _contrast_about_half),
        (photometric, "GRAYSCALE_PROBABILITY", 0.1),
        (cv2, "resize", lambda image, size, **_: _RESIZE(image, size, interpolation=0)),
        (views, "shrink_window", shrink_by_areas),
    ],
    ids=[
        "no hue",
        "less hue",
        "twice the blur",
        "contrast about 0.5",
        "less grey",
        "nearest",
        "areas",
    ],
)
def test_wrong_views_are_noticed(monkeypatch, expected, photos, module, name, wrong):
    monkeypatch.setattr(module, name, wrong)
    assert too_far(collect(our_views, photos)[0], expected[0])
