"""Whole-image and sliding-window evaluation with one global confusion matrix."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rcc_jax.config import checks
from rcc_jax.distributed import meshes
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.tta import AveragedNetwork, call, shares
from rcc_jax.labels import IGNORED

PyTree = Any
# Batches whose counts may still be on the devices: enough to hide the host, few enough for memory.
MAX_PENDING = 4


class Evaluator:
    """Labels images with a network and counts its hits and misses.

    Attributes:
        num_classes: The classes K, at most 255.
    """

    def __init__(
        self,
        predict: Callable[..., jax.Array],
        *,
        num_classes: int,
        mesh: Mesh,
        mode: str = "whole",
        window: int | None = None,
        stride: int | None = None,
        windows: str = "shifted",
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        size_multiple: int = 1,
    ):
        """Compiles nothing yet.

        Args:
            predict: From variables and images [B, H, W, 3] to logits [B, H, W, K]; traceable. Of
                padded batches it takes the sizes [B, 2] as a third argument.
            num_classes: K.
            mesh: Devices of this process, from `distributed.make_local_mesh`.
            mode: 'whole' compiles the network for each size of a batch; 'sliding' for each size of
                a window, and takes no padded batches.
            window: Height and width of a window in pixels; for 'sliding' only.
            stride: Pixels between windows, at most `window`.
            windows: 'shifted': the last window of a row or column is shifted back to the border,
                and an image smaller than a window is padded with black to its size; all windows
                are of one size. 'cut': windows are cut off at the border, as in UniMatch's
                evaluation, and a smaller image is seen as it is.
            flip: Whether to average with the mirror image.
            scales: Factors on the size of the image to average over; `mode` holds for each.
            size_multiple: What height and width of an image must be multiples of for `predict`.

        Raises:
            ConfigError: If the mode, window, stride, windows or scales cannot work.
        """
        for fault in checks.faults_of_scales(scales):
            raise ConfigError(fault)
        if mode == "sliding":
            _check_windows(window, stride, windows, size_multiple)
        elif mode != "whole":
            raise ConfigError(f"eval.mode={mode!r}: use 'whole' or 'sliding'")
        self.num_classes = num_classes
        self._mesh = mesh
        split, copied = meshes.batch_sharding(mesh), meshes.replicated(mesh)
        self._network = AveragedNetwork(
            predict,
            num_classes=num_classes,
            sharding=split,
            window=window if mode == "sliding" else None,
            stride=stride,
            cut=windows == "cut",
            flip=flip,
            scales=scales,
        )
        self._gather = jax.jit(lambda tree: tree, out_shardings=copied)
        self._count = jax.jit(
            functools.partial(_confusion, num_classes=num_classes), out_shardings=copied
        )
        self._predict_labels = jax.jit(
            lambda *inputs: _argmax(call(predict, *inputs)), out_shardings=split
        )
        self._argmax = jax.jit(_argmax, out_shardings=split)
        normalize = _log_softmax if self._network.single_pass else _log_shares
        self._log_probabilities = jax.jit(normalize, out_shardings=split)
        self._describe = jax.jit(
            functools.partial(_describe, normalize=normalize),
            static_argnames="probabilities",
            out_shardings=split,
        )

    def confusion(
        self,
        variables: PyTree,
        batches: Iterable[Mapping[str, np.ndarray]],
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> np.ndarray | None:
        """Counts every pixel of every batch once.

        Args:
            variables: What `predict` takes, the same on every device.
            batches: 'image' [B, H, W, 3] and 'label' [B, H, W]; pixels of label 255 do not
                count. Where rows are padded, 'size' is the true height and width of each, int32
                [B, 2]; the label of the padding is 255.
            should_stop: Asked between batches.

        Returns:
            Counts [K, K] as int64, a row a true class and a column a predicted one; None where
            `should_stop` said so.
        """
        total = np.zeros((self.num_classes, self.num_classes), np.int64)
        pending = collections.deque()
        for batch in batches:
            if should_stop():
                return None
            variables, images, sizes = self._place(variables, batch["image"], batch.get("size"))
            truth = self._pad_rows(batch["label"], IGNORED)
            truth = meshes.place_batch(self._mesh, truth)
            pending.append(self._count(self._label(variables, images, sizes), truth))
            if len(pending) > MAX_PENDING:
                total += np.asarray(pending.popleft())
        for counts in pending:
            total += np.asarray(counts)
        return total

    def predictions(
        self, variables: PyTree, images: np.ndarray, sizes: np.ndarray | None = None
    ) -> np.ndarray:
        """Labels images [B, H, W, 3] the way `confusion` does; returns [B, H, W] as uint8."""
        labels = self._label(*self._place(variables, images, sizes))
        return np.asarray(self._gather(labels))[: len(images)]

    def describe(
        self,
        variables: PyTree,
        images: np.ndarray,
        sizes: np.ndarray | None = None,
        *,
        probabilities: bool = False,
    ) -> dict[str, np.ndarray]:
        """Labels images as `predictions` does and tells how sure the network is.

        Args:
            variables: What `predict` takes.
            images: [B, H, W, 3].
            sizes: True height and width of each row where rows are padded, int32 [B, 2].
            probabilities: Whether to return those of all classes too.

        Returns:
            'labels' uint8 [B, H, W]; 'confidence', the probability of the label, float32
            [B, H, W]; where asked for 'probabilities' float32 [B, H, W, K].
        """
        scores = self._network.scores(*self._place(variables, images, sizes))
        found = self._gather(self._describe(scores, probabilities=probabilities))
        return {name: np.asarray(value)[: len(images)] for name, value in found.items()}

    def log_probabilities(self, variables: PyTree, images: np.ndarray) -> jax.Array:
        """Logarithms of the probabilities, left on the devices.

        Returns:
            float32 [rows, H, W, K]: those of the images, then padding for the devices.
        """
        scores = self._network.scores(*self._place(variables, images))
        return self._log_probabilities(scores)

    def _place(
        self, variables: PyTree, images: np.ndarray, sizes: np.ndarray | None = None
    ) -> tuple[PyTree, jax.Array, np.ndarray | None]:
        variables = meshes.replicate(self._mesh, variables)
        images = meshes.place_batch(self._mesh, self._pad_rows(images, 0))
        return variables, images, None if sizes is None else self._pad_rows(sizes, 1)

    def _pad_rows(self, array: np.ndarray, value: int) -> np.ndarray:
        missing = -len(array) % meshes.local_device_count(self._mesh)
        if not missing:
            return array
        filling = np.full((missing, *array.shape[1:]), value, array.dtype)
        return np.concatenate([array, filling])

    def _label(self, variables: PyTree, images: jax.Array, sizes: np.ndarray | None) -> jax.Array:
        if self._network.single_pass:
            return self._predict_labels(variables, images, sizes)
        return self._argmax(self._network.scores(variables, images, sizes))


def _check_windows(window, stride, windows, size_multiple) -> None:
    if not window or window < 1:
        raise ConfigError(f"eval.window={window}: 'sliding' needs a window of 1 pixel up")
    if not stride or not 1 <= stride <= window:
        raise ConfigError(
            f"eval.stride={stride}: between 1 and eval.window={window}, or pixels are left out"
        )
    if windows not in ("cut", "shifted"):
        raise ConfigError(f"eval.windows={windows!r}: use 'cut' or 'shifted'")
    if size_multiple > 1 and windows == "cut":
        raise ConfigError(
            "eval.windows='cut' makes windows of any size, but this network needs multiples of "
            f"{size_multiple} pixels; use eval.windows=shifted."
        )
    if window % size_multiple:
        below = window // size_multiple * size_multiple
        nearest = " or ".join(str(n) for n in (below, below + size_multiple) if n)
        raise ConfigError(
            f"eval.window={window}: this network needs multiples of {size_multiple} pixels; use "
            f"{nearest}."
        )


def _argmax(scores: jax.Array) -> jax.Array:
    return jnp.argmax(scores, axis=-1).astype(jnp.uint8)


def _log_softmax(logits: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _log_shares(sums: jax.Array) -> jax.Array:
    # A class that float32 has rounded to nothing stays finite, for who compares two of them.
    return jnp.log(jnp.maximum(shares(sums), jnp.finfo(jnp.float32).tiny))


def _describe(scores: jax.Array, *, normalize, probabilities: bool) -> dict[str, jax.Array]:
    logs = normalize(scores)
    found = {"labels": _argmax(scores), "confidence": jnp.exp(jnp.max(logs, axis=-1))}
    return {**found, "probabilities": jnp.exp(logs)} if probabilities else found


def _confusion(labels: jax.Array, truth: jax.Array, *, num_classes: int) -> jax.Array:
    size = num_classes * num_classes
    cells = truth.astype(jnp.int32) * num_classes + labels.astype(jnp.int32)
    # Ignored pixels go to a cell of their own, which is cut off.
    cells = jnp.where(truth == IGNORED, size, cells).reshape(len(truth), -1)
    # A histogram an image: each device counts its own rows before they are summed.
    counts = jax.vmap(functools.partial(jnp.bincount, length=size + 1))(cells)
    return counts.sum(axis=0, dtype=jnp.int32)[:size].reshape(num_classes, num_classes)


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a confusion matrix says, in percent.

    Attributes:
        miou: Mean of `iou` over the classes that have one; nan where none has.
        iou: Intersection over union by class name; nan where the class is neither in the ground
            truth nor predicted.
        absent: Names of the classes without a pixel in the ground truth.
        accuracy: Share of the pixels that are right; nan where there are none.
    """

    miou: float
    iou: dict[str, float]
    absent: tuple[str, ...]
    accuracy: float

    def table(self) -> str:
        """One line a class, then the mean over classes and the share of right pixels."""
        width = max(len(name) for name in (*self.iou, "accuracy"))
        lines = []
        for name, value in self.iou.items():
            note = ""
            if name in self.absent:
                counts = "does not count" if np.isnan(value) else "but predicted: counts as 0"
                note = f"  not in the ground truth, {counts}"
            lines.append(f"{name:<{width}}  {_percent(value)}{note}")
        counted = sum(not np.isnan(value) for value in self.iou.values())
        over = f"over {counted} of {len(self.iou)} classes"
        lines.append(f"{'mIoU':<{width}}  {_percent(self.miou)}  {over}")
        lines.append(f"{'accuracy':<{width}}  {_percent(self.accuracy)}")
        return "\n".join(lines)


def scores(confusion: np.ndarray, class_names: Sequence[str]) -> Scores:
    """Turns counts into intersection over union; a class with an empty union has none.

    Args:
        confusion: Counts [K, K], a row a true class and a column a predicted one.
        class_names: K different names.

    Returns:
        The scores.

    Raises:
        ValueError: If the names do not fit the matrix.

    >>> scores(np.array([[3, 1], [0, 4]]), ["sky", "road"]).iou
    {'sky': 75.0, 'road': 80.0}
    """
    if len(set(class_names)) != len(class_names) or len(class_names) != len(confusion):
        raise ValueError(
            f"{len(confusion)} classes need as many different names, not {list(class_names)}"
        )
    hits = np.diag(confusion)
    truth = confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - hits
    iou = np.divide(100 * hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    total = confusion.sum()
    return Scores(
        miou=float(np.nanmean(iou)) if (union > 0).any() else float("nan"),
        iou=dict(zip(class_names, iou.tolist(), strict=True)),
        absent=tuple(n for n, pixels in zip(class_names, truth, strict=True) if pixels == 0),
        accuracy=float(100 * hits.sum() / total) if total else float("nan"),
    )


def _percent(value: float) -> str:
    return "     -" if np.isnan(value) else f"{value:6.2f}"
