"""Proposes settings that fit the data, if the given ones do not."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.sources.labels import IGNORE, voc_codes

VOC_VOID = 0xE0E0C0
# With a side of 16 k + 1 pixels, the corners of a crop lie on the grid of the features. 769 is the
# usual crop for data sets with the largest images.
CROP_STEP, LARGEST_CROP = 16, 769
# If there are more values or colours than this, masks were blurred or saved as photographs.
MAX_CLASSES = 64
# With fewer validation images, scores mean little; with a larger share, few images are left for
# training.
FEW_IMAGES, LARGEST_SHARE = 10, 0.5


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Values for fields of a configuration, and what they assume."""

    fields: Mapping[str, object]
    meaning: str


def for_values(counts: np.ndarray, num_classes: int, label_map: str = "") -> list[Proposal]:
    """Proposes ways to read masks of indices.

    Args:
        counts: Pixels by stored value over all masks, int64 [256].
        num_classes: K, as it is set.
        label_map: data.label_map, as it is set. The proposal is then to ignore unlisted values.

    Returns:
        The likeliest proposal first; one without fields if no setting helps.
    """
    used = np.flatnonzero(counts).tolist()
    values = [value for value in used if value != IGNORE]
    if label_map:
        return [
            Proposal({"data.label_map": f"{label_map},*:{IGNORE}"}, "all other values are ignored")
        ]
    if used == [0, IGNORE]:
        return [_classes({"data.label_map": "0:0,255:1"}, 2, num_classes, "255 is a class")]
    if not values:
        return []
    if len(values) > max(MAX_CLASSES, 2 * num_classes):
        meaning = (
            f"{len(values)} values are too many for class ids: were the masks blurred, resized or "
            "saved as photographs? Export them again without interpolation"
        )
        return [Proposal({}, meaning)]
    known = [value for value in values if value < num_classes]
    as_set = Proposal(
        {"data.label_map": _listed({value: value for value in known}, rest=True)},
        f"ids from {num_classes} on are not classes and are ignored",
    )
    # If all classes that are set occur, another value is more likely not a class.
    complete = known == list(range(num_classes))
    if values == list(range(len(values))):
        found = [_classes({}, len(values), num_classes, "every id is a class"), as_set]
        return found[::-1] if complete and len(values) == num_classes + 1 else found
    listed = _listed({value: number for number, value in enumerate(values)})
    meaning = f"the {len(values)} values found are the classes"
    found = [_classes({"data.label_map": listed}, len(values), num_classes, meaning)]
    if len(known) > 1 and len(values) > num_classes:
        found.insert(0 if complete else 1, as_set)
    return found


def for_colors(counts: Mapping[int, int], num_classes: int, colormap: str = "") -> list[Proposal]:
    """Proposes ways to read masks of colours.

    Args:
        counts: Pixels by colour 0xrrggbb over all masks.
        num_classes: K, as it is set.
        colormap: data.colormap, as it is set. The proposal is then to ignore unlisted colours.

    Returns:
        The likeliest proposal first.
    """
    if colormap:
        return [
            Proposal({"data.colormap": f"{colormap},*:{IGNORE}"}, "all other colours are ignored")
        ]
    colors = sorted(counts)
    if not colors:
        return []
    if len(colors) > max(MAX_CLASSES, 2 * num_classes):
        common = [color for color, _ in collections.Counter(counts).most_common(num_classes)]
        meaning = (
            f"the {num_classes} most common of {len(colors)} colours are the classes, the others, "
            "perhaps blends, are ignored"
        )
        return [_colors({c: n for n, c in enumerate(sorted(common))}, num_classes, meaning, True)]
    grey = {color: color & 255 for color in colors if color == (color & 255) * 0x010101}
    classes = [color for color in colors if color != VOC_VOID]
    if len(grey) == len(colors) and all(v < num_classes or v == IGNORE for v in grey.values()):
        if set(grey.values()) != {0, IGNORE}:
            return [_colors(grey, num_classes, "the value of the grey is the id")]
    elif len(grey) < len(colors) and set(classes) <= set(voc := voc_codes()) and len(classes) > 1:
        ids = {color: voc.index(color) for color in classes}
        void = {VOC_VOID: IGNORE} if VOC_VOID in colors else {}
        return [_colors({**ids, **void}, num_classes, "the colours are PASCAL VOC's")]
    meaning = "the ids follow the order of the colours; change it to your own"
    found = [_colors({color: n for n, color in enumerate(colors)}, num_classes, meaning)]
    if colors[0] == 0 and len(colors) > 2:
        ids = {0: IGNORE, **{color: n for n, color in enumerate(colors[1:])}}
        black = _colors(ids, num_classes, "the same, but black is not a class and is ignored")
        # If there is one colour too many, it is usually that of pixels without a class.
        found.insert(0 if len(colors) == num_classes + 1 else 1, black)
    return found


def classes(counts: np.ndarray, colors: Mapping[int, int]) -> Proposal | None:
    """Infers the classes from the masks alone.

    Args:
        counts: Pixels by stored value over all masks of indices, int64 [256].
        colors: Pixels by colour 0xrrggbb over all masks of colours.

    Returns:
        The number of classes and how to read the masks; None if they cannot be inferred.
    """
    used = np.flatnonzero(counts).tolist()
    if bool(used) == bool(colors) or len(colors) > MAX_CLASSES:
        return None
    if colors:
        grey = np.bincount([color & 255 for color in colors], minlength=256)
        is_grey = all(color == (color & 255) * 0x010101 for color in colors)
        known = _dense(np.flatnonzero(grey).tolist()) if is_grey else 0
        if len(colors) < 2:
            return None
        found = for_colors(colors, known)[0]
        # `for_colors` leaves out the number of classes where it agrees with `known`.
        return Proposal({"data.num_classes": known, **found.fields}, found.meaning)
    if used == [0, IGNORE]:
        return for_values(counts, 0)[0]
    largest = _dense(used) - 1
    if largest < 1:
        return None
    ignored = f" and {IGNORE}, which is ignored" if IGNORE in used else ""
    meaning = f"the masks hold ids from {used[0]} to {largest}{ignored}"
    return Proposal({"data.num_classes": largest + 1}, meaning)


def _dense(used: Sequence[int]) -> int:
    """The number of classes if the values look like ids 0 .. K - 1, of which some may be absent.

    Returns:
        K; 0 if the values do not look like ids.
    """
    ids = [value for value in used if value != IGNORE]
    if not ids or len(ids) > MAX_CLASSES or 2 * len(ids) <= ids[-1] + 1:
        return 0
    return ids[-1] + 1


def crop_size(
    sizes: Mapping[tuple[int, int], int],
    given: int,
    largest: int = LARGEST_CROP,
    *,
    multiple: int = 1,
) -> Proposal | None:
    """Proposes another crop size if the given one is far from the size of the images.

    Args:
        sizes: Number of images by (width, height).
        given: Side of the crop in pixels, as it is set; 0 if it is not set.
        largest: The largest crop size to propose.
        multiple: The network takes multiples of this number of pixels.

    Returns:
        The proposal; None if the given crop size is suitable.
    """
    if not sizes:
        return None
    shorter = _median({size: min(size) for size in sizes}, sizes)
    longer = _median({size: max(size) for size in sizes}, sizes)
    if shorter / 2 <= given <= longer:
        return None
    side = min(max(1, (shorter - 1) // CROP_STEP) * CROP_STEP + 1, largest)
    side = max(side // multiple, 1) * multiple
    if side == given or (given > largest and given <= longer):
        return None
    meaning = f"the median of the images' shorter sides is {shorter} pixels"
    return Proposal({"data.crop_size": side}, meaning)


def num_classes(counts: np.ndarray, given: int) -> Proposal | None:
    """Proposes fewer classes if no mask has the last of those that are set.

    Args:
        counts: Pixels by id over all masks that were read, int64 [256].
        given: K, as it is set.

    Returns:
        The proposal; None if the last class occurs.
    """
    used = np.flatnonzero(counts[:IGNORE])
    if not used.size or used[-1] + 1 >= given:
        return None
    meaning = f"no mask has an id above {used[-1]}"
    return Proposal({"data.num_classes": max(2, int(used[-1]) + 1)}, meaning)


def validation(
    num_labeled: int, num_val: int, absent: Sequence[str], share: float | None
) -> Proposal | None:
    """Proposes more validation images if scores on the given ones mean little.

    Args:
        num_labeled: Number of labelled images.
        num_val: Number of validation images.
        absent: Names of the classes that labelled masks have and validation masks lack.
        share: data.val if it is a share of the labelled images, else None.

    Returns:
        The proposal; None if the validation images suffice or there are none.
    """
    few = num_val < FEW_IMAGES
    if not num_val or not (few or absent):
        return None
    faults = [f"only {num_val} image{'s' if num_val > 1 else ''}"] if few else []
    faults += [f"no pixel of {', '.join(absent)}, which data.labeled has"] if absent else []
    meaning = f"data.val has {' and '.join(faults)}: mIoU and 'best' will mean little"
    if share is None or share >= LARGEST_SHARE:
        return Proposal({}, f"{meaning}. Add images of every class to data.val, a list or a folder")
    wanted = max(FEW_IMAGES / (num_labeled + num_val), share if few else 2 * share)
    # Rounded up to a multiple of 0.05; 1e-9 absorbs rounding errors.
    larger = min(math.ceil(wanted * 20 - 1e-9) / 20, LARGEST_SHARE)
    advice = "List validation images in a val.txt, or set aside a larger share of data.labeled"
    return Proposal({"data.val": f"{larger:g}"}, f"{meaning}. {advice}")


def _median(lengths: Mapping, counts: Mapping) -> int:
    repeated = np.repeat([lengths[size] for size in counts], list(counts.values()))
    return int(np.median(repeated))


def _listed(ids: Mapping[int, int], rest: bool = False) -> str:
    items = [f"{raw}:{number}" for raw, number in ids.items()]
    return ",".join([*items, f"*:{IGNORE}"] if rest else items)


def _colors(ids: Mapping[int, int], num_classes: int, meaning: str, rest: bool = False) -> Proposal:
    items = [f"#{color:06x}:{number}" for color, number in sorted(ids.items(), key=_by_id)]
    text = ",".join([*items, f"*:{IGNORE}"] if rest else items)
    needed = max((number for number in ids.values() if number != IGNORE), default=0) + 1
    return _classes({"data.colormap": text}, max(needed, 2), num_classes, meaning, grow=True)


def _by_id(item: tuple[int, int]) -> tuple[int, int]:
    return item[1], item[0]


def _classes(
    fields: dict, needed: int, num_classes: int, meaning: str, grow: bool = False
) -> Proposal:
    """Adds the number of classes if it differs (`grow`: only if it is too small)."""
    differs = needed > num_classes if grow else needed != num_classes
    return Proposal({**fields, **({"data.num_classes": needed} if differs else {})}, meaning)
