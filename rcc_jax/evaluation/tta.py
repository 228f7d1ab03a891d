"""Scores of whole images, from one pass or averaged over windows, mirror images and scales."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from rcc_jax.config import checks
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation import padded_views

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How an image becomes scores; the fields are those of `config.eval`.

    Attributes:
        mode: 'whole' runs the network on whole images and compiles it for each size of a batch;
            'sliding' runs it on windows, compiles it for each size of a window, and takes no
            padded batches.
        window: Side of a window in pixels; for 'sliding' only.
        stride: Pixels between windows, at most `window`; for 'sliding' only.
        windows: 'shifted': the last window of a row or column is shifted back to the border, and
            an image smaller than a window is padded with black; all windows have one size. 'cut':
            windows end at the border, as in UniMatch's evaluation, and a smaller image is not
            padded.
        flip: Whether to average with the mirror image.
        scales: Factors on height and width at which an image is seen; `mode` applies to each.
    """

    mode: str = "whole"
    window: int | None = None
    stride: int | None = None
    windows: str = "shifted"
    flip: bool = False
    scales: Sequence[float] = (1.0,)

    @property
    def sliding(self) -> bool:
        """Whether the network sees windows instead of whole images."""
        return self.mode == "sliding"

    @property
    def single_pass(self) -> bool:
        """Whether the network sees each image once, whole and unchanged."""
        return not self.sliding and not self.flip and tuple(self.scales) == (1.0,)

    def check(self, size_multiple: int = 1) -> None:
        """Refuses a protocol that cannot work.

        Args:
            size_multiple: The network takes images whose height and width are multiples of this.

        Raises:
            ConfigError: Names the field and the values that work.
        """
        for fault in checks.faults_of_scales(self.scales):
            raise ConfigError(fault)
        if self.sliding:
            self._check_windows(size_multiple)
        elif self.mode != "whole":
            raise ConfigError(f"config.eval.mode={self.mode!r}: use 'whole' or 'sliding'.")

    def _check_windows(self, size_multiple: int) -> None:
        window, stride = self.window, self.stride
        if not window or window < 1:
            raise ConfigError(
                f"config.eval.window={window}: 'sliding' needs a window of at least 1 pixel."
            )
        if not stride or not 1 <= stride <= window:
            raise ConfigError(
                f"config.eval.stride={stride}: use 1 to config.eval.window={window}; a larger "
                "stride skips pixels."
            )
        if self.windows not in ("cut", "shifted"):
            raise ConfigError(f"config.eval.windows={self.windows!r}: use 'cut' or 'shifted'.")
        for fault in checks.faults_of_windows(window, self.windows, size_multiple):
            raise ConfigError(fault)


class AveragedNetwork:
    """Runs a network on windows, mirror images and scales of an image and sums probabilities."""

    def __init__(
        self,
        predict: Callable[..., jax.Array],
        protocol: Protocol,
        *,
        num_classes: int,
        sharding: NamedSharding,
    ):
        """Compiles nothing yet.

        Args:
            predict: From variables and images [B, H, W, 3] to logits [B, H, W, K]; traceable. For
                padded batches it gets the sizes [B, 2] as a third argument.
            protocol: How images become scores.
            num_classes: K.
            sharding: Sharding of the arrays that are computed for a batch.
        """
        self._protocol = protocol

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
        self._normalize = jit(normalize_scores)
        self._sum = jit(jnp.add, donate_argnums=0)

    def scores(
        self, variables: PyTree, images: jax.Array, sizes: np.ndarray | None = None
    ) -> jax.Array:
        """Scores of every pixel.

        Args:
            variables: What the network takes.
            images: [B, H, W, 3].
            sizes: True height and width of each row where rows are padded, int32 [B, 2]; for
                whole images only.

        Returns:
            [B, H, W, K] whose argmax is the label: logits, or sums of probabilities.
        """
        if self._protocol.single_pass:
            return self._logits(variables, images, sizes)
        flips = (False, True) if self._protocol.flip else (False,)
        views = list(itertools.product(self._protocol.scales, flips))
        if views == [(1.0, False)]:
            return self._one_view(variables, images, sizes)
        full, total = images.shape[1:3], None
        for scale, flip in views:
            size = tuple(padded_views.scaled(full, scale).tolist())
            own = None if sizes is None else padded_views.scaled(sizes, scale)
            view = images if size == full else self._resize(images, sizes, own, size=size)
            seen = self._one_view(variables, self._mirror(view, own) if flip else view, own)
            # Normalise first, or pixels that several windows cover would weigh more than others.
            seen = self._normalize(self._mirror(seen, own) if flip else seen)
            seen = seen if size == full else self._resize(seen, own, sizes, size=full)
            total = seen if total is None else self._sum(total, seen)
        return total

    def _one_view(
        self, variables: PyTree, images: jax.Array, sizes: np.ndarray | None
    ) -> jax.Array:
        if not self._protocol.sliding:
            return self._probabilities(variables, images, sizes)
        if sizes is not None:
            raise ValueError("sliding windows need images without padding; leave out sizes")
        # Cropping and adding compile quickly, for each image size; the network compiles for each
        # window size, of which there is one unless windows are cut.
        window, stride = self._protocol.window, self._protocol.stride
        cut = self._protocol.windows == "cut"
        rows, columns = (
            window_spans(length, window, stride, cut=cut) for length in images.shape[1:3]
        )
        sums = self._zeros(images)
        for (top, height), (left, width) in itertools.product(rows, columns):
            corner = np.array([top, left], np.int32)
            part = self._crop(images, corner, size=(height, width))
            sums = self._add(sums, self._probabilities(variables, part, None), corner)
        return sums


def call(
    predict: Callable[..., jax.Array],
    variables: PyTree,
    images: jax.Array,
    sizes: jax.Array | None,
) -> jax.Array:
    """Calls `predict`, with the sizes only if the batch is padded."""
    return predict(variables, images) if sizes is None else predict(variables, images, sizes)


def window_spans(length: int, window: int, stride: int, *, cut: bool) -> list[tuple[int, int]]:
    """Start and length of each window along one axis of an image.

    Args:
        length: Pixels of the image.
        window: Pixels of a window.
        stride: Pixels from one start to the next.
        cut: True: a window starts at every multiple of the stride and ends at the border, as in
            UniMatch's evaluation. False: all windows keep their length; the last one is shifted
            back to end at the border, and it exceeds an image that is shorter.

    >>> window_spans(100, 40, 30, cut=True)
    [(0, 40), (30, 40), (60, 40), (90, 10)]
    >>> window_spans(100, 40, 30, cut=False)
    [(0, 40), (30, 40), (60, 40)]
    """
    if cut:
        return [(start, min(window, length - start)) for start in range(0, length, stride)]
    last = max(length - window, 0)
    return [(start, window) for start in (*range(0, last, stride), last)]


def normalize_scores(sums: jax.Array) -> jax.Array:
    """Turns sums of probabilities [..., K] into probabilities.

    >>> normalize_scores(jnp.array([1.0, 3.0])).tolist()
    [0.25, 0.75]
    """
    return sums / jnp.sum(sums, axis=-1, keepdims=True)


def _crop(images: jax.Array, corner: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    below, right = (max(s - n, 0) for s, n in zip(size, images.shape[1:3], strict=True))
    # Black, the value that training pads with: 0 before normalisation.
    padded = jnp.pad(images, ((0, 0), (0, below), (0, right), (0, 0)))
    starts = (0, corner[0], corner[1], 0)
    return jax.lax.dynamic_slice(padded, starts, (len(images), *size, images.shape[-1]))


def _add(sums: jax.Array, seen: jax.Array, corner: jax.Array) -> jax.Array:
    seen = seen[:, : sums.shape[1], : sums.shape[2]]
    starts = (0, corner[0], corner[1], 0)
    before = jax.lax.dynamic_slice(sums, starts, seen.shape)
    return jax.lax.dynamic_update_slice(sums, before + seen, starts)
