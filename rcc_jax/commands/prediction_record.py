"""Records how the results in a folder are made, so that no other results are mixed with them."""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from input_pipeline import NO_SHAPES, Shapes, choose_shapes
from input_pipeline.batches.padded_shapes import Kind, Size
from input_pipeline.batches.photos import Photo, rows_by_shape
from input_pipeline.files import write_atomically
from rcc_jax.config import schema
from rcc_jax.errors import ConfigError
from rcc_jax.models.network import Weights
from rcc_jax.segmenter import Segmenter

_NAME = "predict.json"


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """Shapes of batches, which may affect how the values of a pixel are rounded.

    Attributes:
        padded: Whether images are padded to the shapes; if not, the shapes are the image sizes.
        rows: Number of rows of a batch by (height, width).
        kind: Which images may share a batch, as in `Shapes`.
    """

    padded: bool
    rows: Mapping[Size, int]
    kind: Kind | None = None

    @classmethod
    def of(cls, photos: Sequence[Photo], segmenter: Segmenter) -> "BatchPlan":
        """Makes the plan of a first start."""
        config, kind, shapes = segmenter.config, segmenter.evaluator.kind, NO_SHAPES
        if most := schema.max_shapes(config):
            counts = collections.Counter(photo.size for photo in photos)
            shapes = choose_shapes(counts, most, kind)
        rows = rows_by_shape(photos, batch_size=config.eval.batch_size, shapes=shapes)
        return cls(bool(shapes), rows, kind)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], kind: Kind | None) -> "BatchPlan":
        """The inverse of `as_json`; the network knows the kinds."""
        rows = {(height, width): rows for height, width, rows in entry["height_width_rows"]}
        return cls(entry["padded"], rows, kind)

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "padded": self.padded,
            "height_width_rows": [[*shape, rows] for shape, rows in self.rows.items()],
        }

    @property
    def shapes(self) -> Shapes:
        """Shapes that images are padded to; none if each keeps its size."""
        return Shapes(tuple(self.rows), self.kind) if self.padded else NO_SHAPES

    def fits(self, photo: Photo) -> bool:
        """Whether an image fits one of the shapes."""
        if not self.padded:
            return photo.size in self.rows
        return self.shapes.smallest(photo.size) is not None


def assign(
    photos: Sequence[Photo], plans: Sequence[BatchPlan]
) -> tuple[list[list[Photo]], list[Photo]]:
    """Assigns each image to the first plan that fits; also returns those that fit none."""
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
        options: Settings that may not change when a run resumes.
        plans: The batch plan of the first start, then those of images added later.
    """

    folder: pathlib.Path
    options: dict
    plans: list[BatchPlan]

    @classmethod
    def open(
        cls, folder: pathlib.Path, options: dict, kind: Kind | None = None
    ) -> "PredictionRecord":
        """Creates the folder and its record, or reads the record; rejects any other folder.

        Args:
            folder: The folder.
            options: From `options_of`.
            kind: Which images may share a batch of the network, as in `Shapes`.
        """
        file = folder / _NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if file.exists():
                before = json.loads(file.read_text())
                plans = [BatchPlan.from_json(each, kind) for each in before.pop("batches", [])]
                if before.get("mode") == "sliding":
                    before.setdefault("windows", "shifted")  # The only choice in older versions.
                require_same(folder, before, options, "predictions")
                return cls(folder, options, plans)
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                raise ConfigError(
                    f"--output={folder}: the folder holds other files; name a new or an empty "
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


def options_of(segmenter: Segmenter, images: str) -> dict[str, Any]:
    """The settings that results depend on, as JSON values.

    Args:
        segmenter: The network.
        images: Where its images come from.
    """
    fields = segmenter.config.eval
    windows = {name: fields[name] for name in ("window", "stride", "windows")}
    return {
        "checkpoint": str(segmenter.checkpoint),
        "weights": fingerprint(segmenter.weights),
        "network": segmenter.network,
        "input": images,
        "mode": fields.mode,
        **(windows if fields.mode == "sliding" else {}),
        "flip": fields.flip,
        "scales": list(fields.scales),
        "classes": {
            name: f"#{bytes(color).hex()}"
            for name, color in zip(segmenter.class_names, segmenter.palette, strict=False)
        },
    }


def fingerprint(weights: Weights) -> str:
    """A checksum of the values of weights: a run that is trained anew has the same paths."""
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(weights):
        values = np.asarray(leaf)
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def require_same(folder: pathlib.Path, before: dict, options: dict, what: str) -> None:
    """Rejects a folder whose results were made with other settings.

    Args:
        folder: The folder.
        before: The settings that its results were made with.
        options: The settings of this call.
        what: The results, for the message, such as 'predictions'.

    Raises:
        ConfigError: The settings differ (the message names each), or the checkpoint at this path
            now has other weights.
    """
    # Earlier versions recorded the path alone.
    before = {"weights": options.get("weights"), **before}
    path, same = options["checkpoint"], before["weights"] == options["weights"]
    if before.get("checkpoint") == path and not same:
        raise ConfigError(
            f"--output={folder} holds {what} of other weights: {path} was written "
            "anew since. Delete the folder to make them anew, or use another --output."
        )
    changes = [
        f"  {name}: {json.dumps(before.get(name))} -> {json.dumps(options.get(name))}"
        for name in dict.fromkeys([*before, *options])
        if before.get(name) != options.get(name)
    ]
    if changes:
        raise ConfigError(
            f"--output={folder} holds {what} made with other settings:\n"
            + "\n".join(changes)
            + "\nUse another --output, or restore these settings (--checkpoint accepts a path)."
        )
