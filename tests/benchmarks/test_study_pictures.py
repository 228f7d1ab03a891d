"""Which runs of a study stand side by side in its sheet of predictions."""

import json

import pytest

from benchmarks import study_pictures
from configs import msrc
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError


def finished(folder, arguments):
    """A finished run of configs/msrc.py; returns its folder."""
    path = folder / arguments
    path.mkdir(parents=True)
    config = method_group.resolved(msrc.get_config(arguments))
    (path / "config.json").write_text(json.dumps(config))
    (path / "result.json").write_text(json.dumps({"step": 8, "miou": 1.0, "best_miou": 1.0}))
    return path


def test_settings_that_all_runs_share_are_no_reason_to_leave_one_out(tmp_path):
    common = "20,backbone=dinov2_small,ema=0.99,method="
    second, alone, composed = (
        finished(tmp_path, common + method)
        for method in ("unimatch_v2", "supervised", "unimatch_v2,consensus=rank")
    )
    finished(tmp_path, common + "unimatch_v2,gamma=0.7")
    finished(tmp_path, common + "unimatch_v2,seed=1")
    found = study_pictures.find_runs(tmp_path, "20", 0)
    assert list(found) == ["supervised", "unimatch_v2", "unimatch_v2 + rcc"]
    assert list(found.values()) == [alone, second, composed]
    with pytest.raises(ConfigError, match="no finished run of 40, seed 0"):
        study_pictures.find_runs(tmp_path, "40", 0)
