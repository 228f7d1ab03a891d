"""UniMatch V2: FixMatch with an EMA teacher and complementary channels in two strong views."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from rcc_jax.methods.base import Networks, Views
from rcc_jax.methods.fields import ema_option
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.lazy import jax, jnp, passes

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.passes import Logits


@dataclasses.dataclass(frozen=True)
class UniMatchV2(FixMatch):
    """(L_x + (L_s1 + L_s2) / 2) / 2, where the student's features are divided between the views.

    A channel that is dropped in one strong view is doubled in the other, except in half of the
    images (of each part of an accumulated batch). The EMA teacher labels the weak view, which the
    student does not see.
    """

    name: ClassVar[str] = "unimatch_v2"
    summary: ClassVar[str] = "FixMatch with an EMA teacher and complementary feature channels"
    reference: ClassVar[str] = "Yang, Zhao, Zhao, TPAMI 2025, arXiv 2410.10777"
    views: ClassVar[Views] = Views(strong=2)
    recipes: ClassVar = {"cityscapes": {"confidence_threshold": 0.95}}  # As for PASCAL.

    ema_decay: float = ema_option(0.996)

    def passes(self, nets: Networks, batch, key: Array) -> Logits:
        first, second = passes.mixed_views(batch, self.strong_views)
        features = nets.student.encode(passes.interleave(first, second))
        size = first.shape[1:3]
        strong = passes.separate(nets.student.decode(divide_channels(features, key), size))
        return passes.Logits(
            labeled=nets.student(batch["labeled"]["image"]),
            strong=strong,
            weak=nets.teacher(batch["unlabeled"]["weak"]),
            partner=nets.teacher(batch["partner"]["weak"]),
        )


def divide_channels(features: Any, key: Array) -> Any:
    """Drops in one view the channels that it doubles in the other (complementary dropout).

    Half of the images, rounded down, keep all channels in both views. Feature maps with the same
    number of channels share the draw, as the four levels of a transformer do.

    Args:
        features: Pytree of arrays [2 B, ..., C] whose rows alternate between the views.
        key: Key for the random draws.

    Returns:
        The same tree.

    Reference:
        Yang, Zhao, Zhao, TPAMI 2025, section 3.3.
    """

    def divide(x: Array) -> Array:
        first, second = passes.separate(x)
        rows, channels = first.shape[0], first.shape[-1]
        of_size = jax.random.fold_in(key, channels)
        factor = 2 * jax.random.bernoulli(of_size, 0.5, (rows, channels)).astype(x.dtype)
        kept = jax.random.permutation(key, rows) < rows // 2
        factor = jnp.where(kept[:, None], jnp.ones((), x.dtype), factor)
        factor = factor.reshape(rows, *(1,) * (x.ndim - 2), channels)
        return passes.interleave(first * factor, second * (2 - factor))

    return jax.tree.map(divide, features)
