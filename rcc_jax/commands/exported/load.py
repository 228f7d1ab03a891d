"""Loads an exported network; needs jax, numpy and the flatbuffers that jax.export reads.

As a command: python load.py IMAGES.npy LOGITS.npy
"""

import pathlib
import sys

import jax.export
import numpy as np


def load(folder=pathlib.Path(__file__).parent):
    """A function from RGB images, uint8 [B, H, W, 3], to logits, float32 [B, H, W, K]."""
    program = pathlib.Path(folder, "model.stablehlo").read_bytes()
    call = jax.jit(jax.export.deserialize(bytearray(program)).call)  # compiles once per shape
    return lambda images: np.asarray(call(images))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print("usage: python load.py IMAGES.npy LOGITS.npy; uint8 [B, H, W, 3]", file=sys.stderr)
        sys.exit(2)
    np.save(sys.argv[2], load()(np.load(sys.argv[1], allow_pickle=False)))
