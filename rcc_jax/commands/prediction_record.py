"""How the predictions in a folder are made, recorded so that a resumed run makes the same."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from input_pipeline import choose_shapes
from input_pipeline.batches.padded_shapes import Size
from input_pipeline.batches.photos import Photo, rows_by_shape
from input_pipeline.files import write_atomically
from rcc_jax.errors import ConfigError

_NAME = "predict.json"


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """Shapes of batches; how a pixel is rounded may depend on them.

    Attributes:
        padded: Whether images are padded to the shapes; else the shapes are their sizes.
        rows: Number of rows by (height, width).
    """

    padded: bool
    rows: Mapping[Size, int]

    @classmethod
    def of(cls, photos: Sequence[Photo], fields: ml_collections.ConfigDict) -> "BatchPlan":
        """The plan of a first start, by the fields of `config.eval`."""
        shapes = ()
        if fields.mode == "whole":
            counts = collections.Counter(photo.size for photo in photos)
            shapes = choose_shapes(counts, fields.max_shapes)
        rows = rows_by_shape(photos, batch_size=fields.batch_size, shapes=shapes)
        return cls(bool(shapes), rows)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "BatchPlan":
        """Reads what `as_json` has made."""
        rows = {(height, width): rows for height, width, rows in entry["height_width_rows"]}
        return cls(entry["padded"], rows)

    def as_json(self) -> dict[str, Any]:
        """The plan for a record."""
        return {
            "padded": self.padded,
            "height_width_rows": [[*shape, rows] for shape, rows in self.rows.items()],
        }

    @property
    def shapes(self) -> tuple[Size, ...]:
        """What images are padded to; none = each keeps its size."""
        return tuple(self.rows) if self.padded else ()

    def fits(self, photo: Photo) -> bool:
        """Whether there is a batch for an image."""
        if not self.padded:
            return photo.size in self.rows
        return any(h >= photo.height and w >= photo.width for h, w in self.rows)


def assign(
    photos: Sequence[Photo], plans: Sequence[BatchPlan]
) -> tuple[list[list[Photo]], list[Photo]]:
    """The images of each plan, the first that fits, and those that none fits."""
    assigned, rest = [[] for _ in plans], []
    for photo in photos:
        fitting = (own for plan, own in zip(plans, assigned, strict=True) if plan.fits(photo))
        next(fitting, rest).append(photo)
    return assigned, rest


@dataclasses.dataclass
class PredictionRecord:
    """How the predictions in a folder are made.

    Attributes:
        folder: The folder.
        options: What may not change from one start to the next.
        plans: Batches of the first start, then those of images that were added since.
    """

    folder: pathlib.Path
    options: dict
    plans: list[BatchPlan]

    @classmethod
    def open(cls, folder: pathlib.Path, options: dict) -> "PredictionRecord":
        """Makes the folder and its record, or reads it; refuses a folder of anything else."""
        file = folder / _NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if file.exists():
                before = json.loads(file.read_text())
                plans = [BatchPlan.from_json(entry) for entry in before.pop("batches", [])]
                _require_same(folder, before, options)
                return cls(folder, options, plans)
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                raise ConfigError(
                    f"--output={folder}: there are other files in it; name a new or an empty "
                    "folder."
                )
            record = cls(folder, options, [])
            record.write()
            return record
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"--output={folder}: cannot be used ({reason}); name a folder that you may write "
                "to."
            ) from None

    def write(self) -> None:
        """Writes predict.json."""
        content = {**self.options, "batches": [plan.as_json() for plan in self.plans]}
        write_atomically(self.folder / _NAME, json.dumps(content, indent=2) + "\n")


def _require_same(folder: pathlib.Path, before: dict, options: dict) -> None:
    if before.get("mode") == "sliding":
        before.setdefault("windows", "shifted")  # Of before there was a choice.
    changes = [
        f"  {name}: {json.dumps(before.get(name))} -> {json.dumps(options.get(name))}"
        for name in dict.fromkeys([*before, *options])
        if before.get(name) != options.get(name)
    ]
    if changes:
        raise ConfigError(
            f"--output={folder} holds predictions that were made otherwise:\n"
            + "\n".join(changes)
            + "\nUse another --output, or set these back (--checkpoint takes a path)."
        )
