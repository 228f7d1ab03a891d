"""What the tests of commands start from: images for `--mode=check`, a run, pictures."""

import numpy as np
import PIL.Image
import pytest

from input_pipeline.sources import scenes
from input_pipeline.sources.orientation import EXIF_ORIENTATION
from tests.support import checking
from tests.support.untrained import write_run


@pytest.fixture
def data(tmp_path):
    """Root of twelve images 60x50 and lists; masks are for the test to write."""
    checking.lists(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The folder of a run with random weights."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two scenes of one size, one stored lying on its side, and one that is cut off."""
    folder = tmp_path_factory.mktemp("pictures")
    drawn = [scenes.draw_scene(number)[0][:64] for number in range(3)]
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    (folder / "more").mkdir()
    PIL.Image.fromarray(drawn[0]).save(folder / "plain.png")
    PIL.Image.fromarray(np.rot90(drawn[1])).save(folder / "more" / "lying.png", exif=exif)
    PIL.Image.fromarray(drawn[2]).save(folder / "broken.jpg")
    (folder / "broken.jpg").write_bytes((folder / "broken.jpg").read_bytes()[:-500])
    return folder, drawn
