"""Networks and losses that plain float64 numpy can follow, for tests of the methods' equations."""

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.methods import augseg
from rcc_jax.methods.base import Clock
from rcc_jax.methods.cutmix import box_masks
from rcc_jax.methods.passes import Logits, Targets

CLASSES = 5
# Values of `pseudo_labels`.
KINDS = ("hard", "soft")


def softmax(x):
    x = np.asarray(x, np.float64)
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def plain_ranks(logits):
    """Rank of each class, by a stable sort."""
    return np.argsort(np.argsort(-logits, axis=-1, kind="stable"), axis=-1, kind="stable")


def plain_entropy(logits):
    p = softmax(logits)
    return -(p * np.log(p)).sum(-1)


class Pixelwise:
    """Networks whose logits are functions of a pixel's colour, so that numpy can follow them."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.of_student, self.of_teacher = rng.normal(size=(2, 3, CLASSES)) / 40

    def student(self, images):
        return jnp.asarray(images, jnp.float64) @ self.of_student

    def teacher(self, images):
        return jnp.asarray(images, jnp.float64) @ self.of_teacher


def loss_of(method, batch, key=0, nets=None, step=0):
    nets = nets or Pixelwise()

    @jax.jit  # One program instead of one for each operation.
    def run(batch, key):
        return method.loss(
            nets,
            batch,
            None,
            counts=method.counts(batch),
            parts=1,
            clock=Clock(jnp.asarray(step), 5, 20),
            key=key,
        )

    return run(jax.tree.map(jnp.asarray, batch), jax.random.key(key))


def plain(images, of="student"):
    return np.asarray(images, np.float64) @ getattr(Pixelwise(), f"of_{of}")


def plain_cross_entropy(logits, labels):
    """Cross-entropy of each pixel against classes or soft labels; NaN where it is ignored."""
    if labels.ndim == logits.ndim:
        return -(labels * np.log(softmax(logits))).sum(-1)
    picked = np.take_along_axis(softmax(logits), np.where(labels == 255, 0, labels)[..., None], -1)
    return np.where(labels == 255, np.nan, -np.log(picked[..., 0]))


def plain_soft_label(probability: np.ndarray, mass: float) -> np.ndarray:
    """ESL's rule for one pixel, in its own order: sort, take until the share is reached."""
    order = np.argsort(-probability)
    count = 1
    while probability[order[:count]].sum() < mass - 1e-9:
        count += 1
    smallest = probability[order[count - 1]]
    kept = np.where(probability >= smallest, probability, 0)
    return kept / kept.sum()


def plain_pseudo(logits, kind, threshold=0.0):
    """The pseudo labels of logits, 'hard' or 'soft' with the share 0.95, and where they count."""
    probability = softmax(logits)
    if kind == "soft":
        target = np.apply_along_axis(plain_soft_label, -1, probability, 0.95)
        return target, np.ones(target.shape[:-1], bool)
    return probability.argmax(-1), probability.max(-1) >= threshold


def plain_labeled(batch):
    x, labels = batch["labeled"]["image"], batch["labeled"]["label"].astype(int)
    return np.nanmean(plain_cross_entropy(plain(x), labels))


def mixed_by_box(batch, name):
    own, partner = batch["unlabeled"][name].copy(), batch["partner"][name]
    for row, (y0, x0, y1, x1) in enumerate(batch["unlabeled"]["boxes"][:, 0]):
        own[row, y0:y1, x0:x1] = partner[row, y0:y1, x0:x1]
    return own


def numbered(base, rows=6, size=24):
    """Images whose pixels tell their row; targets likewise."""
    value = np.broadcast_to(np.arange(rows)[:, None, None] + base, (rows, size, size))
    true = jnp.full(value.shape, base == 0)
    image = jnp.asarray(value[..., None].repeat(3, -1))
    return augseg.Mixable(image, jnp.asarray(value), true, image, true)


def random_problem(seed=0, rows=4, size=9, num_classes=5):
    rng = np.random.default_rng(seed)

    def logits():
        return jnp.asarray(rng.normal(scale=3, size=(rows, size, size, num_classes)), jnp.float32)

    labels = rng.integers(0, num_classes, (rows, size, size))
    labels[:, :2] = 255
    valid, partner_valid = np.ones((2, rows, size, size), bool)
    valid[:, :, 7:], partner_valid[:, 6:] = False, False
    boxes = np.array([[1, 2, 6, 8], [0, 0, 0, 0], [0, 0, 9, 9], [3, 3, 9, 9]], np.int32)
    pasted = (box_masks(boxes, size, size), box_masks(boxes[::-1], size, size))
    return (
        Logits(logits(), (logits(), logits()), logits(), logits(), logits()),
        Targets(jnp.asarray(labels, jnp.int32), valid, partner_valid, pasted),
    )


def assert_close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11), found, expected
    )
