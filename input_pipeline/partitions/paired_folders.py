"""Pairs the images and masks of two folders by their names."""

import os
from collections.abc import Callable, Collection

from input_pipeline import near_names
from input_pipeline.errors import DataError
from input_pipeline.partitions import lists

# The name of a folder of images beside the folder of their masks.
IMAGES = "images"


def pair(
    root: str, part: str, text: str, train: str, note: Callable[[str], object] | None
) -> tuple[list[str], list[str]]:
    """Pairs images and masks that have the same name, except for the suffix.

    Args:
        root: The folder that paths are relative to.
        part: 'labeled' or 'val'.
        text: The folder of the masks, as data.labeled or data.val gives it.
        train: data.train, which may be the folder of the images.
        note: Called with a message for each file that is left out because of its name. None: The
            message is raised.

    Returns:
        The paths of the images, and the paths of their masks.

    Raises:
        DataError: The folders cannot be paired; or a mask has no image, and there is no `note` or
            no other mask.
    """
    field = f"data.{part}"
    # data.train holds the training images. Validation images are among them, unless they have a
    # folder beside their masks.
    places = [train, images_beside(text)] if part == "labeled" else [images_beside(text), train]
    folder = next((place for place in places if place and is_folder(root, place)), None)
    if folder is None:
        raise DataError(
            f"{field} = {text!r} is a folder of masks, but there is no folder of their images, "
            f"{os.path.join(root, images_beside(text))}. Put the images there, or set data.train "
            f"to their folder.{near_names.hint(images_beside(text), root)}"
        )
    if os.path.samefile(*(os.path.join(root, os.path.expanduser(x)) for x in (folder, text))):
        raise DataError(
            f"{field} = {text!r} is the folder of the images themselves. Set {field} to the "
            "folder of their masks, or to a list of `image label` lines."
        )
    masks = _by_stem(root, text, field, note)
    images = _by_stem(root, folder, field, note, wanted=masks.keys())
    alone = [stem for stem in masks if stem not in images]
    where = f"no image of that name in {os.path.join(root, folder)}"
    what = (
        "A mask must have the name of its image, except for the suffix: rename it, move it out of "
        "the folder, or write a list of `image label` lines."
    )
    if alone and (note is None or len(alone) == len(masks)):
        raise DataError(
            f"{masks[alone[0]]}: {where}, and {len(alone)} of {len(masks)} masks have none "
            f"({field}). {what}"
        )
    for stem in alone:
        note(f"{masks.pop(stem)}: {where} ({field}). {what}")
    return [images[stem] for stem in masks], list(masks.values())


def images_beside(masks: str) -> str:
    """The folder `images` beside a folder of masks."""
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
    """Maps the path in the folder, without the suffix, to the file; refuses two files of one name.

    Args:
        root: The folder that paths are relative to.
        folder: The folder of the files.
        field: The setting that named it, for messages.
        note: Called with a message for each further file of the same name. None: It is raised.
        wanted: The names to keep. None: All.
    """
    full = os.path.join(root, os.path.expanduser(folder))
    found: dict[str, str] = {}
    for path in lists.find_images(folder, root=root, field=field):
        stem = os.path.splitext(os.path.relpath(path, full))[0]
        if wanted is not None and stem not in wanted:
            continue
        if stem in found:
            message = (
                f"{found[stem]} and {path} have the same name, so it is not clear which of them to "
                f"pair ({field}). Remove one of the two."
            )
            if note is None:
                raise DataError(message)
            note(message)
        else:
            found[stem] = path
    return found
