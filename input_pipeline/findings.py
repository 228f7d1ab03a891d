"""What an inspection of the data found: numbers by part, and faults by kind."""

import collections
import dataclasses
from collections.abc import Callable

import numpy as np

PARTS = ("labeled", "val", "unlabeled")
# Faults that prevent a training.
SETTINGS, LISTS = "settings that cannot work", "lists that cannot be used"
LINES, NAMES = "wrong lines of a list", "masks and images that do not pair by name"
EMPTY, TWICE, OVERLAP = "parts without an image", "images listed twice", "images in two lists"
MISSING, IMAGE, MASK = "missing files", "unreadable images", "unreadable masks"
SIZE, COLORED = "masks of another size than their image", "masks of colours"
VALUES, NO_USE = "masks with values that the settings do not know", "masks that teach nothing"
# Faults that do not prevent it.
LEAK, COPY = "leaks: validation images that are trained on", "copies of an image"
ABSENT, BLANK = "classes without a pixel", "masks that are ignored everywhere"
MAX_EXAMPLES, MAX_COLORS = 1000, 4096

# Called with the part, kind, message and number of faulty entries that the opened part leaves out.
Note = Callable[[str, str, str, int], object]


@dataclasses.dataclass
class Group:
    """Faults of one kind: how many in each part, and messages with how many each stands for."""

    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    examples: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def add(self, part: str, message: str, count: int = 1) -> None:
        """Counts a fault; `count` is above 1 where one message stands for several."""
        self.counts[part] += count
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((message, count))


@dataclasses.dataclass
class Part:
    """What one part holds.

    Attributes:
        name: The setting that lists it.
        usable: Which entries can be read, bool [N].
        digests: A number for the pixels of each image, uint64 [N]; 0 = unreadable.
        sizes: Images by (width, height).
        pixels, images: Pixels, and masks that have any, by class id, int64 [256].
        num_masks: Masks that were read.
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
    """What was found.

    Attributes:
        parts: 'labeled', 'val' and 'unlabeled'.
        errors, warnings: Groups of faults by kind.
        values: Pixels of masks that could not be used by stored index, int64 [256].
        colors: The same by colour 0xrrggbb, for the commonest MAX_COLORS.
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
        """Keeps the commonest colours: masks saved as photographs would fill the memory."""
        if len(self.colors) > 2 * MAX_COLORS:
            self.colors = collections.Counter(dict(self.colors.most_common(MAX_COLORS)))
