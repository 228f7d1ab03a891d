"""A method that uses every part of the contract: head, probe, memory, update, ramp, own field."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.methods.base import Result
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.options import option

SIZE = 4  # Of an embedding.


class WithHead(nnx.Module):
    """A network with a projection head on its logits."""

    def __init__(self, main, rngs):
        self.main = main
        *_, classes = main.classifier.kernel.shape
        dtype = main.classifier.kernel.dtype
        self.head = nnx.Linear(classes, SIZE, dtype=dtype, param_dtype=dtype, rngs=rngs)

    def __call__(self, images, *, train):
        return self.main(images, train=train)

    def encode(self, images, *, train):
        return self.main.encode(images, train=train)

    def decode(self, features, size, *, train):
        return self.main.decode(features, size, train=train)


@dataclasses.dataclass(frozen=True)
class Toy(FixMatch):
    """FixMatch, and embeddings of labelled pixels that are pulled to the mean of their class."""

    name: ClassVar[str] = "toy"
    pull: float = option(0.5, "Weight of the pull at the end of its ramp.", at_least=0)

    @property
    def terms(self):
        return (*super().terms, "loss_pull")

    def network(self, make, rngs):
        return WithHead(make(rngs), rngs)

    def memory(self, weights, num_classes, key):
        start = jax.random.normal(key, (num_classes, SIZE), weights.params["head"]["bias"].dtype)
        return {"means": start, "seen": jnp.zeros(num_classes, jnp.int32)}

    def loss(self, nets, batch, memory, *, counts, parts, clock, key):
        plain = super().loss(nets, batch, memory, counts=counts, parts=parts, clock=clock, key=key)
        images = batch["labeled"]["image"]
        logits = nets.student.decode(nets.student.encode(images), images.shape[1:3])
        embedding = nets.student.module.head(logits)
        classes = jnp.argmax(nets.probe("student", images), axis=-1)
        distances = jnp.sum((embedding - memory["means"][classes]) ** 2, axis=-1)
        pull = self.pull * clock.step / clock.num_steps * jnp.sum(distances) / counts.labeled
        of_class = jax.nn.one_hot(classes, len(memory["seen"]), dtype=embedding.dtype)
        sums = jnp.einsum("bhwk,bhwd->kd", of_class, jax.lax.stop_gradient(embedding))
        observed = {"sums": sums, "seen": jnp.sum(of_class, axis=(0, 1, 2)).astype(jnp.int32)}
        return Result(plain.loss + pull, {**plain.terms, "loss_pull": pull}, observed)

    def update(self, memory, observations, weights, clock):
        number = jnp.maximum(observations["seen"], 1)[:, None]
        means = 0.9 * memory["means"] + 0.1 * observations["sums"] / number
        return {"means": means, "seen": memory["seen"] + observations["seen"]}
