"""Objects from a configuration: what a user typed is what an error names."""

import cv2
import jax
import numpy as np
import pytest

from configs import folder
from input_pipeline.errors import DataError
from rcc_jax import build
from tests.support.small_configs import tiny


def test_a_missing_list_is_named_as_the_flag_that_gave_it(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "labeled.txt").write_text("image.png mask.png\n")
    config = folder.get_config("method=supervised")
    config.data.update(root=str(tmp_path), labeled="labeled.txt", val="val.txt", num_classes=2)
    said = r"^--list='nolist\.txt': no such file or folder .* Put it there, or give its path\."
    with pytest.raises(DataError, match=said):
        build.open_partition(config, images="nolist.txt")
    with pytest.raises(DataError, match=r"^data\.val = 'val\.txt': no such file or folder"):
        build.open_partition(config)


def test_without_a_home_programs_are_not_kept(capsys):
    config, before = tiny(), jax.config.jax_compilation_cache_dir
    config.train.compilation_cache = "~no_such_user/xla"
    build.set_up_jax(config)
    assert jax.config.jax_compilation_cache_dir == before
    assert capsys.readouterr().out.startswith("note: ~no_such_user/xla: no such home folder")
