"""Relaxed Class-consensus Consistency (RCC) for semi-supervised semantic segmentation in JAX."""

__version__ = "0.1.0"
__all__ = ["Segmenter"]


def __getattr__(name: str):
    # On first use: importing this package loads no JAX, which would take a second and the devices.
    if name == "Segmenter":
        from rcc_jax.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
