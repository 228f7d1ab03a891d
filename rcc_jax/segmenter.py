"""The network of a run as a function from images to labels; needs no data set."""

import os
import pathlib

import jax
import ml_collections
import numpy as np

from input_pipeline import near_names
from input_pipeline.batches.photos import Photo
from input_pipeline.errors import DataError
from input_pipeline.partitions.partition import names_of_classes
from input_pipeline.sources import orientation
from rcc_jax import build, shipped
from rcc_jax.distributed import meshes
from rcc_jax.errors import ConfigError
from rcc_jax.models.network import Weights
from rcc_jax.reporting import palettes
from rcc_jax.workdir import checkpoint_paths, start_weights


class Segmenter:
    """Labels images with a trained network.

    Attributes:
        class_names: K names in id order.
        palette: Colour of each class, uint8 [256, 3].
        checkpoint: Absolute path of the checkpoint that the weights were read from.
        network: 'EMA teacher' if the run has one, else 'student'.
    """

    def __init__(self, config: ml_collections.ConfigDict, checkpoint: str | os.PathLike):
        """Reads the weights; compiles nothing yet.

        Args:
            config: The configuration of the run.
            checkpoint: Path of a checkpoint, or of a run's folder for its latest one.

        Raises:
            ConfigError: If there is no such checkpoint or it holds another network.
        """
        build.check(config)
        if config.model.dtype == "float64" and not jax.config.jax_enable_x64:
            raise ConfigError(
                "config.model.dtype = 'float64': call jax.config.update('jax_enable_x64', True) "
                "before the first use of JAX."
            )
        self.config = config
        self.mesh = meshes.make_mesh()
        fields = config.data
        self.class_names = names_of_classes(
            fields.source, fields.num_classes, tuple(fields.class_names)
        )
        self.palette = palettes.of_data(fields)
        self.evaluator = build.build_evaluator(config, build.build_network(config), self.mesh)
        self.weights, summary = self._read(checkpoint)
        self.network, _, path = summary.partition(" of ")
        self.checkpoint = pathlib.Path(path)

    def _read(self, checkpoint, *, student: bool = False) -> tuple[Weights, str]:
        abstract = build.abstract_weights(self.config, self.mesh)
        return start_weights.read(checkpoint, abstract, student=student, field="--checkpoint")

    @classmethod
    def from_workdir(
        cls, workdir: str | os.PathLike, *, checkpoint: str = "latest", **evaluation
    ) -> "Segmenter":
        """Loads the network of a run.

        Args:
            workdir: Folder of the run.
            checkpoint: 'latest', 'best', 'best:PROTOCOL', or the path of a checkpoint or of
                another run's folder.
            **evaluation: Changes to `config.eval`, such as `mode='sliding'` or `flip=True`.

        Raises:
            ConfigError: If the folder holds no run or no such checkpoint.

        >>> labels = Segmenter.from_workdir("runs/demo")("photo.jpg")  # doctest: +SKIP
        """
        config = shipped.load("recorded").get_config(workdir)
        for name, value in evaluation.items():
            if name not in config.eval:
                raise ConfigError(f"{name}={value!r}: config.eval has no such field.")
            try:
                config.eval[name] = value
            except TypeError as error:
                raise ConfigError(f"{name}={value!r}: {error}") from None
        return cls(config, checkpoint_paths.find_named(config, workdir, checkpoint))

    def __call__(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Labels an image.

        Args:
            image: uint8 [H, W, 3], RGB; or the path of a file. The network sees a file upright,
                rotated according to EXIF.

        Returns:
            uint8 [H, W], ids of `class_names`; for a file, in the orientation of its stored pixels.

        Raises:
            DataError: If the file does not exist or cannot be read.
            TypeError, ValueError: If `image` is neither, or has the wrong type or shape.
        """
        return self._describe(image)["labels"]

    def probabilities(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Probabilities of the classes, float32 [H, W, K]; takes an image like a call."""
        return self._describe(image, probabilities=True)["probabilities"]

    def describe(
        self, images: np.ndarray, sizes: np.ndarray | None = None, *, probabilities: bool = False
    ) -> dict[str, np.ndarray]:
        """Calls `Evaluator.describe` on uint8 [B, H, W, 3] with the weights of this network."""
        return self.evaluator.describe(self.weights, images, sizes, probabilities=probabilities)

    def read_weights(self, checkpoint: str | os.PathLike) -> Weights:
        """Reads the weights of another checkpoint of this network."""
        return self._read(checkpoint)[0]

    def student_weights(self) -> Weights:
        """Reads the weights of the student; `weights` are the EMA teacher's if there is one."""
        return self._read(self.checkpoint, student=True)[0]

    def _describe(self, image, **options) -> dict[str, np.ndarray]:
        turn = 1
        if isinstance(image, str | os.PathLike):
            photo = _open(os.fspath(image))
            image, turn = photo.read(), photo.orientation
        if not isinstance(image, np.ndarray | jax.Array):
            raise TypeError(
                f"image is of type {type(image).__name__}; give an RGB array, uint8 [H, W, 3], or "
                "the path of a file"
            )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"image is {image.dtype}{list(image.shape)}; give RGB, uint8 [H, W, 3], or a file"
            )
        found = self.describe(image[None], **options)
        return {name: orientation.as_stored(value[0], turn) for name, value in found.items()}


def _open(path: str) -> Photo:
    if not os.path.exists(path):
        raise DataError(f"{path}: there is no such file; give its path.{near_names.hint(path)}")
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; give one image, or use --mode=predict for folders.")
    return Photo.open(path)
