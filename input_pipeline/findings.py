"""The result of an inspection of the data: numbers by part, and faults by kind."""

import collections
import dataclasses
from collections.abc import Callable

import numpy as np

PARTS = ("labeled", "val", "unlabeled")
# Faults with which training cannot work.
SETTINGS, LISTS = "settings that cannot work", "lists that cannot be used"
LINES, NAMES = "wrong lines of a list", "masks and images that do not pair by name"
EMPTY, TWICE, OVERLAP = "parts without an image", "images listed twice", "images in two lists"
MISSING, IMAGE, MASK = "missing files", "unreadable images", "unreadable masks"
SIZE, COLORED = "masks of another size than their image", "masks of colours"
PSEUDO, UNLISTED = "pseudo masks that cannot be used", "file names that no list can hold"
VALUES, NO_USE = "masks with values that the settings do not know", "masks that teach nothing"
# Faults despite which training works.
LEAK, COPY = "leaks: validation images that are trained on", "copies of an image"
ABSENT, BLANK = "classes without a pixel", "masks that are ignored everywhere"
MAX_EXAMPLES, MAX_COLORS = 1000, 4096

# Called for faulty entries that are left out of a part: part, kind, message and their number.
Note = Callable[[str, str, str, int], object]


@dataclasses.dataclass
class Group:
    """Faults of one kind.

    Attributes:
        counts: Number of faults in each part.
        examples: Messages, each with the number of faults that it describes.
    """

    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    examples: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def add(self, part: str, message: str, count: int = 1) -> None:
        """Adds a message about a fault, or about `count` faults."""
        self.counts[part] += count
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((message, count))


@dataclasses.dataclass
class Part:
    """The content of one part.

    Attributes:
        name: The setting that lists the part.
        usable: Which entries can be read, bool [N].
        digests: A digest of the pixels of each image, uint64 [N]; 0 if the image is unreadable.
        sizes: Number of images by (width, height).
        pixels: Number of pixels by class id, int64 [256].
        images: Number of masks that have the class, by class id, int64 [256].
        num_masks: Number of masks that were read.
    """

    name: str
    usable: np.ndarray
    digests: np.ndarray
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    num_masks: int = 0


@dataclasses.dataclass
class Inspection:
    """The result of an inspection.

    Attributes:
        parts: The content of 'labeled', 'val' and 'unlabeled', and of 'pseudo' if a training uses
            pseudo masks.
        errors: Faults with which training cannot work, by kind.
        warnings: Other faults, by kind.
        values: Number of pixels by stored index, over the masks that could not be used, int64
            [256].
        colors: Number of pixels by colour 0xrrggbb over these masks, for the most common colours.
    """

    parts: dict[str, Part] = dataclasses.field(default_factory=dict)
    errors: dict[str, Group] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Group)
    )
    warnings: dict[str, Group] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Group)
    )
    values: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    colors: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def forget_rare_colors(self) -> None:
        """Keeps the MAX_COLORS most common colours: masks saved as photographs have too many."""
        if len(self.colors) > 2 * MAX_COLORS:
            self.colors = collections.Counter(dict(self.colors.most_common(MAX_COLORS)))
