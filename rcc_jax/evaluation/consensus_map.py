"""Class consensus over a data set: mean J(u, v) of each pair of classes, and maps of one pair."""

import dataclasses
import functools
import heapq
import itertools
from collections.abc import Sequence

import jax
import numpy as np

from rcc_jax.consensus import top_class_consensus

_consensus = jax.jit(top_class_consensus, static_argnames="top_n")


@dataclasses.dataclass(frozen=True)
class PairMap:
    """The consensus of one pair of classes at each pixel of an image.

    Attributes:
        name: Name of the image.
        image: uint8 [H, W, 3].
        labels: Labels of the teacher, uint8 [H, W].
        teacher, student: J of the pair, float32 [H, W]; nan where a class is not a player.
        pixels: Number of pixels where both are players.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    pixels: int


class ConsensusMap:
    """Sums of the consensus over pixels, by pair of classes.

    Attributes:
        class_names: K names.
        top_n: Number of players N.
        pair: The two classes of the maps, or None.
        num_images, num_pixels: Number of images and pixels added so far.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        top_n: int = 4,
        pair: tuple[int, int] | None = None,
        num_maps: int = 4,
    ):
        """Starts empty.

        Args:
            class_names: K names.
            top_n: N, from 2 to 8 and at most K.
            pair: Two classes of which to keep maps.
            num_maps: Number of maps to keep: the images with the most pixels of the pair.
        """
        self.class_names, self.top_n = tuple(class_names), top_n
        self.num_images = self.num_pixels = 0
        self.pair, self._num_maps = pair, num_maps
        size = len(class_names) ** 2
        self._counts = np.zeros(size, np.int64)
        # On the host in float64: float32 sums of a million pixels lose three digits.
        self._sums = {name: np.zeros(size) for name in ("teacher", "student")}
        self._maps: list[tuple[int, int, PairMap]] = []
        self._order = itertools.count()

    def add(
        self,
        names: Sequence[str],
        images: np.ndarray,
        teacher_logits: jax.Array,
        student_logits: jax.Array,
    ) -> None:
        """Adds images.

        Args:
            names: Names of the images; later rows of the logits are padding and do not count.
            images: uint8 [B, H, W, 3].
            teacher_logits: [rows, H, W, K] logits or log-probabilities, which define the same game.
            student_logits: The same, of a view with the same pixel positions.
        """
        found = _consensus(teacher_logits, student_logits, top_n=self.top_n)
        classes, teacher, student = (np.asarray(part)[: len(names)] for part in found)
        pairs = itertools.combinations(range(self.top_n), 2)
        for index, (a, b) in enumerate(pairs):
            cells = classes[..., a].astype(np.int64) * len(self.class_names) + classes[..., b]
            count = functools.partial(np.bincount, cells.ravel(), minlength=len(self._counts))
            self._counts += count()
            self._sums["teacher"] += count(weights=teacher[..., index].ravel())
            self._sums["student"] += count(weights=student[..., index].ravel())
        self.num_images += len(names)
        self.num_pixels += classes[..., 0].size
        if self.pair is not None and self._num_maps:
            for row, name in enumerate(names):
                self._keep_map(name, images[row], classes[row], teacher[row], student[row])

    def _keep_map(self, name, image, classes, teacher, student) -> None:
        chosen = np.stack(
            [
                np.isin(classes[..., [a, b]], self.pair).all(axis=-1)
                for a, b in itertools.combinations(range(self.top_n), 2)
            ],
            axis=-1,
        )
        played = chosen.any(axis=-1)
        if not played.any():
            return
        values = [
            np.where(played, np.where(chosen, part, 0).sum(axis=-1), np.nan).astype(np.float32)
            for part in (teacher, student)
        ]
        found = PairMap(
            name, image.copy(), classes[..., 0].astype(np.uint8), *values, int(played.sum())
        )
        # Of equal counts the earlier map wins; the maps themselves are never compared.
        heapq.heappush(self._maps, (found.pixels, -next(self._order), found))
        if len(self._maps) > self._num_maps:
            heapq.heappop(self._maps)

    def counts(self) -> np.ndarray:
        """Pixels where both classes are players, int64 [K, K]; symmetric with a zero diagonal."""
        return self._square(self._counts)

    def mean(self, network: str) -> np.ndarray:
        """Mean J(u, v) over the pixels where both are players, [K, K]; nan if there are none.

        Args:
            network: 'teacher' or 'student'.
        """
        counts, sums = self.counts(), self._square(self._sums[network])
        return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)

    def _square(self, values: np.ndarray) -> np.ndarray:
        square = values.reshape(len(self.class_names), -1)
        return square + square.T

    def top_pairs(self, limit: int, *, least_share: float = 0.0) -> list[tuple[int, int]]:
        """Pairs of classes with the highest mean J of the teacher, highest first.

        Args:
            limit: Maximum number of pairs.
            least_share: Minimum share of all pixels in which both classes are players.
        """
        mean, counts = self.mean("teacher"), self.counts()
        pairs = [
            (u, v)
            for u, v in itertools.combinations(range(len(self.class_names)), 2)
            if counts[u, v] > max(0, least_share * self.num_pixels - 1e-9)
        ]
        return heapq.nlargest(limit, pairs, key=lambda pair: mean[pair])

    def maps(self) -> list[PairMap]:
        """Maps of the chosen pair, those with the most pixels first."""
        return [found for *_, found in sorted(self._maps, key=lambda entry: entry[:2])[::-1]]
