"""Drawn scenes for the demo: a seabed with six kinds of animals in three similar pairs.

The kinds of a pair share size, colour and most of their shape: fish have dark bars or bright
spots, stars have thick arms with dark warts or thin arms with bright warts, shells have dark ribs
or a bright net. These differences survive the colour changes of the strong views.
"""

import colorsys
import dataclasses
import math

import cv2
import numpy as np

from input_pipeline.sources.string_table import StringTable

SIZE = 96  # Height and width of a scene in pixels.
CLASS_NAMES = (
    "seabed",
    "barred_fish",
    "spotted_fish",
    "cushion_star",
    "brittle_star",
    "ribbed_shell",
    "netted_shell",
)
_SALT = 0x5EABED
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
# For each pair of kinds: smallest and largest radius in pixels, mean hue, and smallest and largest
# brightness of the colour, which leave room for darker and brighter patterns.
_RADIUS = {"fish": (18.0, 28.0), "star": (18.0, 26.0), "shell": (17.0, 25.0)}
_HUE = {"fish": 0.6, "star": 0.15, "shell": 0.9}
_VALUE = {"fish": (0.4, 0.65), "star": (0.65, 0.8), "shell": (0.5, 0.75)}
_HUE_SPREAD = 0.06
# How far the pattern moves from the colour of an animal towards black or white.
_CONTRAST = (0.7, 1.0)


class SceneSource:
    """Drawn scenes, each a pure function of its number.

    Args:
        start: The first scene number.
        stop: The number after the last one.
        labeled: Whether elements contain the mask too.
        name: The setting that gives the range, and its value, for messages.
    """

    def __init__(self, start: int, stop: int, *, labeled: bool, name: str = ""):
        self.name = name
        self.ids = StringTable(str(number) for number in range(start, stop))
        self._start = start
        self._labeled = labeled

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} in a source of {len(self)} scenes")
        image, label = draw_scene(self._start + int(index))
        return {"image": image, "label": label} if self._labeled else {"image": image}

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width, the same for every scene."""
        return SIZE, SIZE


@dataclasses.dataclass(frozen=True)
class _Animal:
    """An animal that is drawn into a window of the scene.

    Attributes:
        window: Its rows and columns in the scene.
        inside: Distance of each pixel from the outline, in pixels; positive inside.
        texture: Where this is above about 0.2, the pattern is drawn.
        relief: Brightness of the shape, about 0 .. 1.
        hue: Mean hue, a fraction of the circle.
        value: Smallest and largest brightness of the colour.
        bright: Whether the pattern is brighter than the rest, not darker.
    """

    window: tuple[slice, slice]
    inside: np.ndarray
    texture: np.ndarray
    relief: np.ndarray
    hue: float
    value: tuple[float, float]
    bright: bool


def draw_scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws a scene, a pure function of its number.

    Args:
        number: The number of the scene, not negative.

    Returns:
        The image, uint8 [SIZE, SIZE, 3], and its mask, uint8 [SIZE, SIZE], whose ids are places
        in CLASS_NAMES.
    """
    rng = np.random.default_rng((_SALT, number))
    image = _draw_seabed(rng)
    label = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(rng.integers(2, 6)):
        kind = int(rng.integers(1, len(CLASS_NAMES)))
        animal = _draw_animal(rng, kind)
        _paint(image, animal, rng)
        label[animal.window][animal.inside > 0] = kind
    _draw_weed(image, label, rng)
    return _photograph(image, rng), label


def _draw_seabed(rng: np.random.Generator) -> np.ndarray:
    """Draws sand with ripples, stains, grain and pebbles; float32 [SIZE, SIZE, 3], about 0 .. 1."""
    color = _color(rng.random(), rng, saturation=(0.05, 0.35), value=(0.3, 0.8))
    stains = _noise(rng, 5)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 16)
    phase = (math.cos(angle) * _COLUMNS + math.sin(angle) * _ROWS) * (2 * np.pi / period)
    ripples = np.sin(phase + 2.5 * stains) * rng.uniform(0, 0.16)
    bright = 1 + rng.uniform(0.05, 0.25) * stains + ripples
    bright += rng.uniform(0.02, 0.15) * _noise(rng, int(rng.integers(16, 49)))
    image = bright[..., None] * color
    for _ in range(rng.integers(0, 9)):
        center = rng.integers(0, SIZE, 2).tolist()
        axes = rng.integers(2, 8, 2).tolist()
        pebble = _color(rng.random(), rng, saturation=(0.0, 0.5), value=(0.2, 0.9))
        tilt = float(rng.uniform(0, 180))
        cv2.ellipse(image, center, axes, tilt, 0, 360, pebble.tolist(), -1, cv2.LINE_AA)
    return image


def _draw_animal(rng: np.random.Generator, kind: int) -> _Animal:
    shape = ("fish", "star", "shell")[(kind - 1) // 2]
    second = kind % 2 == 0
    radius = rng.uniform(*_RADIUS[shape])
    center = rng.uniform(2, SIZE - 2, 2)
    reach = radius * 1.5
    low = np.maximum(np.floor(center - reach), 0).astype(int)
    high = np.minimum(np.ceil(center + reach) + 1, SIZE).astype(int)
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    y, x = _ROWS[window] - float(center[0]), _COLUMNS[window] - float(center[1])
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = math.cos(angle) / radius, math.sin(angle) / radius
    draw = {"fish": _fish, "star": _star, "shell": _shell}[shape]
    inside, texture, relief = draw(
        rng, cosine * x + sine * y, cosine * y - sine * x, radius, second
    )
    inside = inside * radius
    return _Animal(window, inside, texture, relief, _HUE[shape], _VALUE[shape], second)


def _fish(rng, u, v, radius, spotted: bool):
    """A bent spindle with a tail; u runs from tail to head, u and v in units of the radius."""
    v = v - rng.uniform(-0.25, 0.25) * (u * u - 0.3)
    height = rng.uniform(0.36, 0.5)
    body = (1 - u * u - (v / height) ** 2) * (0.5 * height)
    tail = np.minimum(np.minimum(u + 1.3, -0.72 - u), (-0.62 - u) * 0.95 - np.abs(v))
    fin = np.minimum(np.minimum(u + 0.4, 0.35 - u), v + height * 1.35 - 0.3 * np.abs(u))
    inside = np.maximum(np.maximum(body, tail), np.minimum(fin, -v))
    pitch = 2 * np.pi * radius / rng.uniform(9, 14)
    texture = np.sin(pitch * u + rng.uniform(0, 2 * np.pi))
    if spotted:
        texture *= 1.6 * np.sin(pitch * v + rng.uniform(0, 2 * np.pi))
    eye = (u - 0.66) ** 2 + (v + 0.1) ** 2 < 0.012
    return inside, np.where(eye, -2, texture), 1.0 - 0.9 * (v / height) ** 2 * (body > 0)


def _star(rng, u, v, radius, brittle: bool):
    """Five arms around a centre, with warts."""
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    angle = angle + rng.uniform(-0.4, 0.4) * distance  # Arms swing a little.
    core = rng.uniform(0.22, 0.32) if brittle else rng.uniform(0.5, 0.65)
    arm = (0.5 + 0.5 * np.cos(5 * angle)) ** (
        rng.uniform(1.1, 1.6) if brittle else rng.uniform(0.8, 1.2)
    )
    inside = (core + (1 - core) * arm - distance) * 0.6
    pitch = 2 * np.pi * radius / rng.uniform(8, 12)
    texture = 1.6 * np.sin(pitch * u) * np.sin(pitch * v) - 0.2
    return inside, texture, 0.35 + 0.65 * arm + 0.3 * (1 - distance)


def _shell(rng, u, v, radius, netted: bool):
    """A fan with a hinge at the bottom and a scalloped edge."""
    flat = rng.uniform(0.95, 1.2)
    hinge = v + 0.8
    distance, angle = np.hypot(u, hinge), np.arctan2(u, hinge)
    ribs = rng.uniform(6, 8)
    edge = 0.05 * np.cos(ribs * angle)
    body = 1 + edge - np.hypot(u * flat, v)
    inside = np.minimum(body, (hinge + 0.12) - 0.35 * np.abs(u))
    texture = np.cos(ribs * angle)
    if netted:
        texture *= 1.6 * np.cos(2 * np.pi * radius / rng.uniform(8, 12) * distance)
    return inside, texture, 0.4 + 0.6 * np.clip(body * 1.6, 0, 1)


def _paint(image: np.ndarray, animal: _Animal, rng: np.random.Generator) -> None:
    """Draws the shadow of an animal, and then the animal, into the image."""
    cover = np.clip(animal.inside + 0.5, 0, 1)
    patch = image[animal.window]
    shift = np.float32([[1, 0, rng.uniform(-3, 3)], [0, 1, rng.uniform(0.5, 4)]])
    shadow = cv2.warpAffine(cover, shift, cover.shape[::-1])
    patch *= 1 - rng.uniform(0.1, 0.5) * cv2.GaussianBlur(shadow, (5, 5), 1.5)[..., None]
    hue = rng.normal(animal.hue, _HUE_SPREAD)
    color = _color(hue, rng, saturation=(0.5, 0.95), value=animal.value)
    pattern = np.clip(1.5 * animal.texture - 0.3, 0, 1)[..., None]
    target = 1.0 if animal.bright else 0.0
    surface = color + pattern * rng.uniform(*_CONTRAST) * (target - color)
    surface *= (0.55 + 0.5 * animal.relief)[..., None]
    patch += cover[..., None] * (surface - patch)


def _draw_weed(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> None:
    """Draws strands of weed over everything; they count as seabed."""
    for _ in range(rng.integers(0, 4)):
        steps = np.linspace(0, 1, 9)
        x = rng.uniform(0, SIZE) + rng.uniform(-18, 18) * steps
        x += rng.uniform(1, 5) * np.sin(rng.uniform(4, 9) * steps + rng.uniform(0, 6))
        y = SIZE - steps * rng.uniform(25, 90) + rng.uniform(-30, 10)
        line = [np.stack([x, y], -1).round().astype(np.int32)]
        color = _color(rng.random(), rng, saturation=(0.2, 0.7), value=(0.15, 0.7))
        width = int(rng.integers(1, 4))
        cv2.polylines(image, line, False, color.tolist(), width, cv2.LINE_AA)
        cv2.polylines(label, line, False, 0, width)


def _photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds light from above, murk, a tint, blur and noise; uint8 [SIZE, SIZE, 3]."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = (math.cos(angle) * _COLUMNS + math.sin(angle) * _ROWS) / SIZE
    light = 1 + rng.uniform(0, 0.5) * (slope - slope.mean()) + rng.uniform(0, 0.2) * _noise(rng, 7)
    image = image * (rng.uniform(0.65, 1.3) * light[..., None]).astype(np.float32)
    water = _color(rng.random(), rng, saturation=(0.2, 0.7), value=(0.3, 0.8))
    murk = rng.uniform(0, 0.15)
    image = (1 - murk) * image + murk * water
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 0.9))
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0.01, 0.04)
    return (np.clip(image + noise, 0, 1) * 255).round().astype(np.uint8)


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise of about -1 .. 1, with cells x cells bumps; float32 [SIZE, SIZE]."""
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _color(hue: float, rng: np.random.Generator, *, saturation, value) -> np.ndarray:
    """A random colour of a hue (a fraction of the circle); float32 [3], RGB in 0 .. 1."""
    color = colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(color, np.float32)
