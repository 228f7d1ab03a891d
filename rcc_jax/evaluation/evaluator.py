"""Whole-image and sliding-window evaluation with one global confusion matrix."""

import collections
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rcc_jax.distributed import meshes
from rcc_jax.evaluation import padded_views
from rcc_jax.evaluation.tta import AveragedNetwork, Protocol, call, normalize_scores
from rcc_jax.labels import IGNORED

PyTree = Any
# Batches whose counts may still be on the devices: enough to overlap with the host's work, few
# enough to fit in memory.
MAX_PENDING = 4


class Evaluator:
    """Labels images with a network and counts a confusion matrix.

    Attributes:
        num_classes: The classes K, at most 255.
        kind: From an image's height and width to a key. Images with the same key may share a padded
            batch, because the network sees them at one size. None: All images may.
    """

    def __init__(
        self,
        predict: Callable[..., jax.Array],
        *,
        num_classes: int,
        mesh: Mesh,
        size_multiple: int = 1,
        **protocol: Any,
    ):
        """Compiles nothing yet.

        Args:
            predict: From variables and images [B, H, W, 3] to logits [B, H, W, K]; traceable. For
                padded batches it gets the sizes [B, 2] as a third argument.
            num_classes: K.
            mesh: Devices of this process, from `meshes.make_local_mesh`.
            size_multiple: `predict` takes images whose height and width are multiples of this.
            **protocol: The fields of `tta.Protocol`: windows, mirror image, scales.

        Raises:
            ConfigError: If the protocol cannot work.
        """
        protocol = Protocol(**protocol)
        protocol.check(size_multiple)
        self.num_classes = num_classes
        self.kind: Callable[[tuple[int, int]], Any] | None = None
        if size_multiple > 1:
            self.kind = functools.partial(
                padded_views.seen_sizes, scales=tuple(protocol.scales), multiple=size_multiple
            )
        self._mesh = mesh
        self._single_pass = protocol.single_pass
        split, copied = meshes.batch_sharding(mesh), meshes.replicated(mesh)
        self._network = AveragedNetwork(predict, protocol, num_classes=num_classes, sharding=split)
        self._gather = jax.jit(lambda tree: tree, out_shardings=copied)
        self._count = jax.jit(
            functools.partial(_confusion, num_classes=num_classes), out_shardings=copied
        )
        self._predict_labels = jax.jit(
            lambda *inputs: _argmax(call(predict, *inputs)), out_shardings=split
        )
        self._argmax = jax.jit(_argmax, out_shardings=split)
        normalize = _log_softmax if self._single_pass else _log_normalized
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
                count. Where rows are padded, 'size' holds their true height and width, int32
                [B, 2], and the label of the padding is 255.
            should_stop: Called before each batch; True ends the evaluation.

        Returns:
            Counts [K, K] as int64, rows are true classes and columns predicted ones; None if
            `should_stop` returned True.
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
        """Labels images [B, H, W, 3] as `confusion` does; returns uint8 [B, H, W]."""
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
        """Labels images as `predictions` does and adds the confidence of each label.

        Args:
            variables: What `predict` takes.
            images: [B, H, W, 3].
            sizes: True height and width of each row where rows are padded, int32 [B, 2].
            probabilities: Whether to return the probabilities of all classes too.

        Returns:
            'labels', uint8 [B, H, W]; 'confidence', the probability of the label, float32
            [B, H, W]; and on request 'probabilities', float32 [B, H, W, K].
        """
        scores = self._network.scores(*self._place(variables, images, sizes))
        found = self._gather(self._describe(scores, probabilities=probabilities))
        return {name: np.asarray(value)[: len(images)] for name, value in found.items()}

    def log_probabilities(self, variables: PyTree, images: np.ndarray) -> jax.Array:
        """Logarithms of the probabilities, left on the devices.

        Args:
            variables: What `predict` takes.
            images: [B, H, W, 3].

        Returns:
            float32 [rows, H, W, K]: first the images, then rows that fill up the devices.
        """
        scores = self._network.scores(*self._place(variables, images))
        return self._log_probabilities(scores)

    def _place(
        self, variables: PyTree, images: np.ndarray, sizes: np.ndarray | None = None
    ) -> tuple[PyTree, jax.Array, np.ndarray | None]:
        if sizes is not None:
            self._check_kinds(images.shape[1:3], sizes)
        variables = meshes.replicate(self._mesh, variables)
        images = meshes.place_batch(self._mesh, self._pad_rows(images, 0))
        return variables, images, None if sizes is None else self._pad_rows(sizes, 1)

    def _check_kinds(self, shape: tuple[int, int], sizes: np.ndarray) -> None:
        # A row of one pixel fills up the batch.
        images = [tuple(size) for size in np.asarray(sizes).tolist() if size != [1, 1]]
        for size in images if self.kind else ():
            if self.kind(size) != self.kind(shape):
                raise ValueError(
                    f"an image of {size} pixels is padded to {shape}: this network would see it at "
                    f"{self.kind(size)} but the batch at {self.kind(shape)}"
                )

    def _pad_rows(self, array: np.ndarray, value: int) -> np.ndarray:
        missing = -len(array) % meshes.local_device_count(self._mesh)
        if not missing:
            return array
        filling = np.full((missing, *array.shape[1:]), value, array.dtype)
        return np.concatenate([array, filling])

    def _label(self, variables: PyTree, images: jax.Array, sizes: np.ndarray | None) -> jax.Array:
        if self._single_pass:
            return self._predict_labels(variables, images, sizes)
        return self._argmax(self._network.scores(variables, images, sizes))


def _argmax(scores: jax.Array) -> jax.Array:
    return jnp.argmax(scores, axis=-1).astype(jnp.uint8)


def _log_softmax(logits: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _log_normalized(sums: jax.Array) -> jax.Array:
    # Clamp: the log of a probability that underflows stays finite.
    return jnp.log(jnp.maximum(normalize_scores(sums), jnp.finfo(jnp.float32).tiny))


def _describe(scores: jax.Array, *, normalize, probabilities: bool) -> dict[str, jax.Array]:
    logs = normalize(scores)
    found = {"labels": _argmax(scores), "confidence": jnp.exp(jnp.max(logs, axis=-1))}
    return {**found, "probabilities": jnp.exp(logs)} if probabilities else found


def _confusion(labels: jax.Array, truth: jax.Array, *, num_classes: int) -> jax.Array:
    size = num_classes * num_classes
    cells = truth.astype(jnp.int32) * num_classes + labels.astype(jnp.int32)
    # Ignored pixels go to an extra cell, which is cut off.
    cells = jnp.where(truth == IGNORED, size, cells).reshape(len(truth), -1)
    # One histogram per image: each device counts its own rows before they are summed.
    counts = jax.vmap(functools.partial(jnp.bincount, length=size + 1))(cells)
    return counts.sum(axis=0, dtype=jnp.int32)[:size].reshape(num_classes, num_classes)
