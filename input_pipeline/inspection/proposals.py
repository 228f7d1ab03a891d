"""Settings that would read masks which those given do not."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.sources.labels import IGNORE

VOC_VOID = 0xE0E0C0
# A side of 16 k + 1 pixels keeps corners on the grid of the features; what networks were
# trained with on the largest images of usual data sets.
CROP_STEP, LARGEST_CROP = 16, 769
# Beyond so many different values or colours, a mask was blurred or saved as a photograph.
MAX_CLASSES = 64
# Fewer validation images than this tell little; a share above the half leaves little to train on.
FEW_IMAGES, LARGEST_SHARE = 10, 0.5


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Fields of a configuration, and when they are right."""

    fields: Mapping[str, object]
    meaning: str


def for_values(counts: np.ndarray, num_classes: int, label_map: str = "") -> list[Proposal]:
    """Ways to read masks of indices.

    Args:
        counts: Pixels by stored value over all masks, int64 [256].
        num_classes: K as it is set.
        label_map: The map as it is set; what it lacks is then ignored.

    Returns:
        The likeliest first; one without fields where no setting helps.
    """
    used = np.flatnonzero(counts).tolist()
    values = [value for value in used if value != IGNORE]
    if label_map:
        return [Proposal({"data.label_map": f"{label_map},*:{IGNORE}"}, "ignores all other values")]
    if used == [0, IGNORE]:
        return [_classes({"data.label_map": "0:0,255:1"}, 2, num_classes, "255 is a class")]
    if not values:
        return []
    if len(values) > max(MAX_CLASSES, 2 * num_classes):
        meaning = (
            f"{len(values)} values are more than ids would be: masks that were blurred, resized or "
            "saved as photographs? Export them anew, without interpolation"
        )
        return [Proposal({}, meaning)]
    known = [value for value in values if value < num_classes]
    as_set = Proposal(
        {"data.label_map": _listed({value: value for value in known}, rest=True)},
        f"ids from {num_classes} on are no classes and ignored",
    )
    # Where all classes that are set occur, what is left over is more likely none.
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


def for_colors(
    counts: Mapping[int, int], num_classes: int, voc: Sequence[int], colormap: str = ""
) -> list[Proposal]:
    """Ways to read masks of colours.

    Args:
        counts: Pixels by colour 0xrrggbb over all masks.
        num_classes: K as it is set.
        voc: The colours of PASCAL VOC's classes, in id order.
        colormap: The colours as they are set; what is not listed is then ignored.

    Returns:
        The likeliest first.
    """
    if colormap:
        return [Proposal({"data.colormap": f"{colormap},*:{IGNORE}"}, "ignores all other colours")]
    colors = sorted(counts)
    if not colors:
        return []
    if len(colors) > max(MAX_CLASSES, 2 * num_classes):
        common = [color for color, _ in collections.Counter(counts).most_common(num_classes)]
        meaning = f"the {num_classes} commonest of {len(colors)} colours, the rest ignored: blends?"
        return [_colors({c: n for n, c in enumerate(sorted(common))}, num_classes, meaning, True)]
    grey = {color: color & 255 for color in colors if color == (color & 255) * 0x010101}
    classes = [color for color in colors if color != VOC_VOID]
    if len(grey) == len(colors) and all(v < num_classes or v == IGNORE for v in grey.values()):
        if set(grey.values()) != {0, IGNORE}:
            return [_colors(grey, num_classes, "the value of the grey is the id")]
    elif set(classes) <= set(voc) and len(classes) > 1:
        ids = {color: voc.index(color) for color in classes}
        void = {VOC_VOID: IGNORE} if VOC_VOID in colors else {}
        return [_colors({**ids, **void}, num_classes, "the colours are PASCAL VOC's")]
    meaning = "ids in the order of the colours; put your own order"
    found = [_colors({color: n for n, color in enumerate(colors)}, num_classes, meaning)]
    if colors[0] == 0 and len(colors) > 2:
        ids = {0: IGNORE, **{color: n for n, color in enumerate(colors[1:])}}
        black = _colors(ids, num_classes, "the same where black is no class but ignored")
        # One colour too many is most often the one of pixels without a class.
        found.insert(0 if len(colors) == num_classes + 1 else 1, black)
    return found


def classes(counts: np.ndarray, colors: Mapping[int, int], voc: Sequence[int]) -> Proposal | None:
    """How masks are read of which nothing is known, None where that is not clear.

    Args:
        counts: Pixels by stored value over all masks of indices, int64 [256].
        colors: Pixels by colour 0xrrggbb over all masks of colours.
        voc: The colours of PASCAL VOC's classes, in id order.
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
        found = for_colors(colors, known, voc)[0]
        # Left out of a proposal where it is as it is set.
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
    """K of ids 0 to K - 1, of which few masks may lack some; 0 where they look like none."""
    ids = [value for value in used if value != IGNORE]
    if not ids or len(ids) > MAX_CLASSES or 2 * len(ids) <= ids[-1] + 1:
        return 0
    return ids[-1] + 1


def crop_size(
    sizes: Mapping[tuple[int, int], int], given: int, largest: int = LARGEST_CROP
) -> Proposal | None:
    """Another crop, where the one given is far from the images.

    Args:
        sizes: Images by (width, height).
        given: Side of the crop as it is set, pixels; 0 = not set.
        largest: The largest one to propose.
    """
    if not sizes:
        return None
    shorter = _median({size: min(size) for size in sizes}, sizes)
    longer = _median({size: max(size) for size in sizes}, sizes)
    if shorter / 2 <= given <= longer:
        return None
    side = min(max(1, (shorter - 1) // CROP_STEP) * CROP_STEP + 1, largest)
    if side == given or (given > largest and given <= longer):
        return None
    meaning = f"half of the images have a shorter side of at most {shorter} pixels"
    return Proposal({"data.crop_size": side}, meaning)


def num_classes(counts: np.ndarray, given: int) -> Proposal | None:
    """The classes that masks hold, where the last ones that are set occur nowhere.

    Args:
        counts: Pixels by id over all masks that were read, int64 [256].
        given: K as it is set.
    """
    used = np.flatnonzero(counts[:IGNORE])
    if not used.size or used[-1] + 1 >= given:
        return None
    meaning = f"no mask holds an id above {used[-1]}"
    return Proposal({"data.num_classes": max(2, int(used[-1]) + 1)}, meaning)


def validation(
    num_labeled: int, num_val: int, absent: Sequence[str], share: float | None
) -> Proposal | None:
    """More validation images, where those there are tell little.

    Args:
        num_labeled: Number of labelled images.
        num_val: Number of validation images.
        absent: Names of the classes that the labelled masks hold and those of the validation lack.
        share: data.val where it is a share of the labelled images, else None.
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
    # Up to twentieths, without the noise of floats.
    larger = min(math.ceil(wanted * 20 - 1e-9) / 20, LARGEST_SHARE)
    return Proposal(
        {"data.val": f"{larger:g}"}, f"{meaning}. Write a val.txt, or take more of them"
    )


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
    """Adds the number of classes where it differs (`grow`: where it is too small)."""
    differs = needed > num_classes if grow else needed != num_classes
    return Proposal({**fields, **({"data.num_classes": needed} if differs else {})}, meaning)
