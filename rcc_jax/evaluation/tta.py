"""Class scores of whole images, from one pass or averaged over windows, flips and scales."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from rcc_jax.evaluation import padded_views

PyTree = Any


class AveragedNetwork:
    """Calls a network on parts and versions of an image and sums up its probabilities.

    Attributes:
        single_pass: Whether the network sees each image once, whole and as it is. Its logits then
            are the scores.
    """

    def __init__(
        self,
        predict: Callable[..., jax.Array],
        *,
        num_classes: int,
        sharding: NamedSharding,
        window: int | None = None,
        stride: int | None = None,
        cut: bool = False,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ):
        """Compiles nothing yet.

        Args:
            predict: From variables and images [B, H, W, 3] to logits [B, H, W, K]; traceable. Of
                padded batches it takes the sizes [B, 2] as a third argument.
            num_classes: K.
            sharding: Of what is computed for a batch.
            window, stride: Side of the sliding windows and pixels between them; None for whole
                images.
            cut: Whether windows end at the border; else they keep their size: the last one of an
                axis is shifted back, and a smaller image is padded with black.
            flip: Whether the mirror image counts too.
            scales: Sizes at which the image counts, as factors on its height and width.
        """
        self.single_pass = window is None and not flip and tuple(scales) == (1.0,)
        self._window, self._stride, self._cut = window, stride, cut
        self._scales, self._flips = tuple(scales), (False, True) if flip else (False,)

        def jit(function, **options):
            return jax.jit(function, out_shardings=sharding, **options)

        self._logits = jit(lambda *inputs: call(predict, *inputs))
        self._probabilities = jit(
            lambda *inputs: jax.nn.softmax(call(predict, *inputs).astype(jnp.float32), axis=-1)
        )
        self._crop = jit(_crop, static_argnames="size")
        self._zeros = jit(
            lambda images: jnp.zeros((*images.shape[:3], num_classes), jnp.float32),
        )
        self._add = jit(_add, donate_argnums=0)
        self._resize = jit(padded_views.resize, static_argnames="size")
        self._mirror = jit(padded_views.mirror)
        self._shares = jit(shares)
        self._sum = jit(jnp.add, donate_argnums=0)

    def scores(
        self, variables: PyTree, images: jax.Array, sizes: np.ndarray | None = None
    ) -> jax.Array:
        """Scores of every pixel.

        Args:
            variables: What the network takes.
            images: [B, H, W, 3].
            sizes: Height and width of each image where its row is padded, int32 [B, 2]; for whole
                images alone.

        Returns:
            [B, H, W, K], of which the largest is the label: logits, or sums of probabilities.
        """
        if self.single_pass:
            return self._logits(variables, images, sizes)
        views = [(scale, flip) for scale in self._scales for flip in self._flips]
        if views == [(1.0, False)]:
            return self._one_view(variables, images, sizes)
        full, total = images.shape[1:3], None
        for scale, flip in views:
            size = tuple(padded_views.scaled(full, scale).tolist())
            own = None if sizes is None else padded_views.scaled(sizes, scale)
            view = images if size == full else self._resize(images, sizes, own, size=size)
            seen = self._one_view(variables, self._mirror(view, own) if flip else view, own)
            # Shares: pixels that several windows saw count no more than others.
            seen = self._shares(self._mirror(seen, own) if flip else seen)
            seen = seen if size == full else self._resize(seen, own, sizes, size=full)
            total = seen if total is None else self._sum(total, seen)
        return total

    def _one_view(
        self, variables: PyTree, images: jax.Array, sizes: np.ndarray | None
    ) -> jax.Array:
        if self._window is None:
            return self._probabilities(variables, images, sizes)
        if sizes is not None:
            raise ValueError("sliding windows know no padding; give images without it")
        # Cropping and adding compile for each image size, in no time; the network compiles for
        # each size of a window, of which there is one unless windows are cut.
        rows, columns = (
            window_spans(length, self._window, self._stride, cut=self._cut)
            for length in images.shape[1:3]
        )
        sums = self._zeros(images)
        for (top, height), (left, width) in itertools.product(rows, columns):
            corner = np.array([top, left], np.int32)
            window = self._crop(images, corner, size=(height, width))
            sums = self._add(sums, self._probabilities(variables, window, None), corner)
        return sums


def call(
    predict: Callable[..., jax.Array],
    variables: PyTree,
    images: jax.Array,
    sizes: jax.Array | None,
) -> jax.Array:
    """Logits of a network that need not know of padding where there is none."""
    return predict(variables, images) if sizes is None else predict(variables, images, sizes)


def window_spans(length: int, window: int, stride: int, *, cut: bool) -> list[tuple[int, int]]:
    """Start and length of the windows along one axis of an image.

    Args:
        length: Pixels of the image.
        window: Pixels of a window.
        stride: Pixels from one start to the next.
        cut: Whether there is a window at every multiple of the stride, cut off at the border, as
            in UniMatch's evaluation. Else the last one is shifted back to end at the border, and
            one window that is longer than the image remains as long.

    >>> window_spans(100, 40, 30, cut=True)
    [(0, 40), (30, 40), (60, 40), (90, 10)]
    >>> window_spans(100, 40, 30, cut=False)
    [(0, 40), (30, 40), (60, 40)]
    """
    if cut:
        return [(start, min(window, length - start)) for start in range(0, length, stride)]
    last = max(length - window, 0)
    return [(start, window) for start in (*range(0, last, stride), last)]


def shares(sums: jax.Array) -> jax.Array:
    """Sums of probabilities [..., K] as probabilities.

    >>> shares(jnp.array([1.0, 3.0])).tolist()
    [0.25, 0.75]
    """
    return sums / jnp.sum(sums, axis=-1, keepdims=True)


def _crop(images: jax.Array, corner: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    below, right = (max(s - n, 0) for s, n in zip(size, images.shape[1:3], strict=True))
    # Black, as training pads: 0 before the normalisation.
    padded = jnp.pad(images, ((0, 0), (0, below), (0, right), (0, 0)))
    starts = (0, corner[0], corner[1], 0)
    return jax.lax.dynamic_slice(padded, starts, (len(images), *size, images.shape[-1]))


def _add(sums: jax.Array, seen: jax.Array, corner: jax.Array) -> jax.Array:
    seen = seen[:, : sums.shape[1], : sums.shape[2]]
    starts = (0, corner[0], corner[1], 0)
    before = jax.lax.dynamic_slice(sums, starts, seen.shape)
    return jax.lax.dynamic_update_slice(sums, before + seen, starts)
