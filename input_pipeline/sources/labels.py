"""Reading label masks as class ids."""

import dataclasses

import cv2
import numpy as np
import PIL.Image

from input_pipeline.errors import DataError
from input_pipeline.sources import images

# The label of pixels that neither training nor scores count; rcc_jax/labels.py has the same.
IGNORE = 255
# Pillow spreads the values of 2-bit and 4-bit grey masks over 0-255; dividing by these factors
# restores them.
PACKED_GREY = {"L;2": 85, "L;4": 17}


@dataclasses.dataclass(frozen=True)
class StoredMask:
    """The content of a mask file before label_map or colormap are applied.

    Attributes:
        size: Height and width.
        values: Number of pixels of each index, int64 [256], unless the mask was read as colours.
        colors: Number of pixels of each colour 0xrrggbb, if the mask was read as colours.
    """

    size: tuple[int, int]
    values: np.ndarray | None = None
    colors: dict[int, int] | None = None


def stored_mask(data: bytes, path: str, *, as_colors: bool = False) -> StoredMask | None:
    """Counts the values or colours of a mask, whether or not the settings fit them.

    Args:
        data: The bytes of the file.
        path: The name of the file in messages.
        as_colors: Whether palette and grey masks are read as colours too.

    Returns:
        The content of the mask; None if it can be read neither as indices nor as colours.
    """
    try:
        with images.open_image(data, path) as mask:
            size = mask.size[::-1]
            if not as_colors and mask.mode not in ("RGB", "RGBA"):
                indices = _read_indices(mask, path)
                return StoredMask(size, values=np.bincount(indices.ravel(), minlength=256))
            _refuse_lossy(mask, path)
            counts = _count_colors(mask)
    except Exception:  # Pillow raises half a dozen types for corrupt files.
        return None
    return StoredMask(size, colors={int.from_bytes(bytes(c)): count for count, c in counts})


def different_sizes(
    mask: str, mask_size: tuple, image: str, image_size: tuple, way_out: str, where: str = ""
) -> DataError:
    """The error of a mask that is not of the size of its image.

    Args:
        mask: Names the mask.
        mask_size: Its height and width.
        image: Names the image.
        image_size: Its height and width.
        way_out: What to do.
        where: Where they are listed.
    """
    (height, width), (mask_height, mask_width) = image_size, mask_size
    return DataError(
        f"{mask}: the mask is {mask_width}x{mask_height}, {image} is {width}x{height} "
        f"(width x height){where}. {way_out}"
    )


def voc_colors() -> np.ndarray:
    """The colours in which PASCAL VOC draws ids, uint8 [256, 3]; ids of few bits look different."""
    ids = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    # Bit 3 j + c of the id is bit 7 - j of channel c.
    for bit in range(8):
        position, channel = divmod(bit, 3)
        colors[:, channel] |= ((ids >> bit & 1) << (7 - position)).astype(np.uint8)
    return colors


def voc_codes() -> list[int]:
    """The colours of `voc_colors` as 0xrrggbb, for the ids that can be classes."""
    return (voc_colors()[:IGNORE].astype(int) @ (1 << 16, 1 << 8, 1)).tolist()


class LabelReader:
    """Reads grey or palette masks as indices, or RGB masks through a table of colours.

    Args:
        num_classes: K; every id must be below K, or 255 (ignored).
        label_map: '' or 'RAW:ID,RAW:ID,...,*:ID'. A raw value that it does not list is an error,
            except for 255, which stays 255.
        colormap: '' or '#rrggbb:ID,...,*:ID', with which masks are read as colours.

    Raises:
        DataError: One of the settings is malformed or out of range.
    """

    def __init__(self, num_classes: int, label_map: str = "", colormap: str = ""):
        if not 2 <= num_classes <= IGNORE:
            raise DataError(
                f"data.num_classes = {num_classes}: must be from 2 to {IGNORE} "
                "(the background counts, the ignore label 255 does not)."
            )
        if label_map and colormap:
            raise DataError(
                "data.label_map and data.colormap are both set: masks are read as indices or as "
                "colours, not both. Set one of them to ''."
            )
        self.num_classes = num_classes
        self._by_value = _parse_label_map(label_map, num_classes) if label_map else None
        self._by_color = _parse_colormap(colormap, num_classes) if colormap else None

    def read(self, path: str) -> np.ndarray:
        """Reads one mask.

        Args:
            path: The mask file.

        Returns:
            uint8 [H, W]: ids below num_classes, or 255.

        Raises:
            DataError: The mask is unreadable, in an unsuitable format, or has a value that is not
                allowed.
        """
        return self.decode(images.read_bytes(path), path)

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """Decodes a mask as `read` does; `path` is the name of the file in messages."""
        try:
            with images.open_image(data, path) as mask:
                if self._by_color is None:
                    raw = _read_indices(mask, path)
                else:
                    _refuse_lossy(mask, path)
                    raw = np.asarray(mask.convert("RGB"))
        except DataError:
            raise
        except Exception as error:  # Pillow raises half a dozen types for corrupt files.
            raise DataError(
                f"{path}: not a readable mask ({type(error).__name__}: {error}). Copy it again, "
                "or remove its image from the list."
            ) from None
        if self._by_color is not None:
            return self._from_colors(raw, path)
        if self._by_value is not None:
            return self._from_values(raw, path)
        # Adding 1 wraps 255 to 0, so one maximum checks every pixel.
        if int((raw + np.uint8(1)).max()) > self.num_classes:
            raise DataError(self._out_of_range(raw, path))
        return raw

    def _from_values(self, raw: np.ndarray, path: str) -> np.ndarray:
        table, listed = self._by_value
        if not listed.all():
            used = np.bincount(raw.ravel(), minlength=256) > 0
            missing = np.flatnonzero(used & ~listed)
            if missing.size:
                raise DataError(
                    f"{path}: value {missing[0]} is not in data.label_map (values found: "
                    f"{_few(np.flatnonzero(used))}). Add '{missing[0]}:ID', or '*:255' to ignore "
                    "all values that are not listed."
                )
        return cv2.LUT(raw, table)

    def _from_colors(self, raw: np.ndarray, path: str) -> np.ndarray:
        codes, ids, rest = self._by_color
        pixels = raw.astype(np.int32)
        pixels = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
        nearest = np.minimum(np.searchsorted(codes, pixels), len(codes) - 1)
        known = codes[nearest] == pixels
        if rest is None and not known.all():
            color = int(pixels[~known][0])
            raise DataError(
                f"{path}: colour #{color:06x} is not in data.colormap. Add '#{color:06x}:ID', or "
                "'*:255' to ignore all colours that are not listed."
            )
        return np.where(known, ids[nearest], np.uint8(rest or 0))

    def _out_of_range(self, raw: np.ndarray, path: str) -> str:
        values = np.unique(raw)
        bad = values[(values >= self.num_classes) & (values != IGNORE)]
        message = (
            f"{path}: id {bad[0]} with data.num_classes = {self.num_classes} (values found: "
            f"{_few(values)}). Ids must be 0-{self.num_classes - 1}, or {IGNORE} for pixels to "
            "ignore. Correct data.num_classes, or translate the values with data.label_map"
        )
        if self.num_classes == 2 and values[0] == 0 and values[1:].tolist() == [bad[0]]:
            return f"{message}, here '0:0,{bad[0]}:1'."
        return f"{message}: 'RAW:ID,...,*:255'."


def packing(mask: PIL.Image.Image) -> int:
    """The factor by which Pillow spreads the values of a grey PNG with 2 or 4 bits; else 1.

    Args:
        mask: An opened image of one channel that is not loaded yet.
    """
    coding = mask.tile[0][3] if mask.tile else ""
    return PACKED_GREY.get(coding, 1)


def _read_indices(mask: PIL.Image.Image, path: str) -> np.ndarray:
    _refuse_lossy(mask, path)
    if mask.mode in ("L", "P", "1"):
        factor = packing(mask)
        return np.asarray(mask).astype(np.uint8) // np.uint8(factor)
    if mask.mode in ("RGB", "RGBA"):
        colors = _count_colors(mask)
        shown = ", ".join("#" + bytes(color).hex() for _, color in sorted(colors)[::-1][:8])
        raise DataError(
            f"{path}: the mask is {mask.mode}, not indices; colours found: {shown}"
            f"{', ...' if len(colors) > 8 else ''}. Set data.colormap='#rrggbb:ID,...,*:255'."
        )
    raise DataError(
        f"{path}: the mask has mode {mask.mode!r}, but class ids must be 8-bit grey ('L') or "
        "palette ('P'). Save it as an 8-bit PNG."
    )


def _count_colors(mask: PIL.Image.Image) -> list[tuple[int, tuple[int, int, int]]]:
    colors = mask.convert("RGB")
    # Pillow allocates a table of the requested size; one for all colours takes 0.2 s.
    return colors.getcolors(1 << 12) or colors.getcolors(1 << 24)


def _refuse_lossy(mask: PIL.Image.Image, path: str) -> None:
    if mask.format in ("JPEG", "MPO"):
        raise DataError(
            f"{path}: the mask is a JPEG, whose lossy compression changes ids. Export it as PNG."
        )


def _parse_label_map(text: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the id of each raw value, uint8 [256], and which raw values may occur, bool [256]."""
    entries = _parse_entries(text, num_classes, field="data.label_map", parse_key=_parse_value)
    table = np.full(256, entries.get("*", IGNORE), np.uint8)
    listed = np.full(256, "*" in entries)
    table[IGNORE], listed[IGNORE] = IGNORE, True
    for value, class_id in entries.items():
        if value != "*":
            table[value], listed[value] = class_id, True
    return table, listed


def _parse_colormap(text: str, num_classes: int) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Returns sorted colours 0xrrggbb, their ids, and the id of all other colours (or None)."""
    entries = _parse_entries(text, num_classes, field="data.colormap", parse_key=_parse_color)
    rest = entries.pop("*", None)
    if not entries:
        raise DataError(f"data.colormap = {text!r}: no colour is listed. Add '#rrggbb:ID'.")
    codes = sorted(entries)
    ids = np.array([entries[code] for code in codes], np.uint8)
    return np.array(codes, np.int32), ids, rest


def _parse_entries(text: str, num_classes: int, *, field: str, parse_key) -> dict:
    entries = {}
    for item in text.split(","):
        raw, separator, class_id = (part.strip() for part in item.strip().rpartition(":"))
        key = "*" if raw == "*" else parse_key(raw)
        number = int(class_id) if class_id.isdecimal() else -1
        if not separator or key is None or not (0 <= number < num_classes or number == IGNORE):
            raise DataError(
                f"{field}: item {item.strip()!r} is not "
                f"{'RAW:ID' if parse_key is _parse_value else '#rrggbb:ID'} (or '*:ID') with ID "
                f"in 0-{num_classes - 1} or {IGNORE}. Items are separated by commas."
            )
        if key in entries:
            raise DataError(f"{field}: {raw!r} is listed twice. Remove one of the two items.")
        entries[key] = number
    return entries


def _parse_value(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) <= 255 else None


def _parse_color(text: str) -> int | None:
    digits = text.removeprefix("#")
    if len(digits) != 6 or not text.startswith("#"):
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


def _few(values: np.ndarray, limit: int = 12) -> str:
    shown = ", ".join(str(value) for value in values[:limit])
    return f"{shown}, ..." if len(values) > limit else shown
