"""Images and masks in two folders, which belong together by their names."""

import os
from collections.abc import Callable, Collection

from input_pipeline import near_names
from input_pipeline.errors import DataError
from input_pipeline.partitions import lists

# What the folder of the images is called that lies beside a folder of masks.
IMAGES = "images"


def pair(
    root: str, part: str, text: str, train: str, note: Callable[[str], object] | None
) -> tuple[list[str], list[str]]:
    """Images and masks of two folders with equal names, whatever their suffixes.

    Args:
        root: Folder that paths are relative to.
        part: 'labeled' or 'val'.
        text: The folder of the masks, as data.labeled or data.val has it.
        train: data.train, which may be the folder of the images.
        note: Takes a message for each file that is left out for its name; None = it is raised.

    Returns:
        The paths of the images, and of their masks.

    Raises:
        DataError: Folders that cannot be paired; without `note`, or where no mask is left, a mask
            without an image.
    """
    field = f"data.{part}"
    # The images of the training may have a folder of another name; those of the validation are
    # among them unless they have one of their own.
    places = [train, images_beside(text)] if part == "labeled" else [images_beside(text), train]
    folder = next((place for place in places if place and is_folder(root, place)), None)
    if folder is None:
        raise DataError(
            f"{field} = {text!r} is a folder of masks, and their images are not in "
            f"{os.path.join(root, images_beside(text))}. Put them there, or set data.train to "
            f"their folder.{near_names.hint(images_beside(text), root)}"
        )
    if os.path.samefile(*(os.path.join(root, os.path.expanduser(x)) for x in (folder, text))):
        raise DataError(
            f"{field} = {text!r} is the folder of the images themselves. Name the folder of their "
            "masks, or a list of `image label` lines."
        )
    masks = _by_stem(root, text, field, note)
    images = _by_stem(root, folder, field, note, wanted=masks.keys())
    alone = [stem for stem in masks if stem not in images]
    where = f"no image of that name in {os.path.join(root, folder)}"
    what = (
        "A mask has the name of its image, but for the suffix: rename it, take it out of the "
        "folder, or write a list of `image label` lines."
    )
    if alone and (note is None or len(alone) == len(masks)):
        raise DataError(
            f"{masks[alone[0]]}: {where}; that is so for {len(alone)} of {len(masks)} masks "
            f"({field}). {what}"
        )
    for stem in alone:
        note(f"{masks.pop(stem)}: {where} ({field}). {what}")
    return [images[stem] for stem in masks], list(masks.values())


def images_beside(masks: str) -> str:
    """Where the images of a folder of masks are looked for: `images` beside it."""
    return os.path.join(os.path.dirname(os.path.normpath(masks)), IMAGES)


def is_folder(root: str, text: str) -> bool:
    """Whether a setting names a folder, absolute or relative to the root."""
    return bool(text) and os.path.isdir(os.path.join(root, os.path.expanduser(text)))


def _by_stem(
    root: str,
    folder: str,
    field: str,
    note: Callable[[str], object] | None,
    wanted: Collection[str] | None = None,
) -> dict:
    """Files by their path in the folder without the suffix; those that are wanted must be one."""
    full = os.path.join(root, os.path.expanduser(folder))
    found: dict[str, str] = {}
    for path in lists.find_images(folder, root=root, field=field):
        stem = os.path.splitext(os.path.relpath(path, full))[0]
        if wanted is not None and stem not in wanted:
            continue
        if stem in found:
            message = (
                f"{found[stem]} and {path} have one name, so it is not clear which one belongs to "
                f"its image or mask ({field}). Remove one of the two."
            )
            if note is None:
                raise DataError(message)
            note(message)
        else:
            found[stem] = path
    return found
