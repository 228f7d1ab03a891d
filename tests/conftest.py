"""Test set-up: eight fake devices, strict ranks, one cache of programs, recorded numbers."""

import gc
import os
import pathlib
import signal

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# No test asks a hub, except those that serve one themselves.
os.environ["HF_HUB_OFFLINE"] = "1"

from tests.support import commands

os.environ["XLA_FLAGS"] = commands.ENVIRONMENT["XLA_FLAGS"]

import jax
import pytest
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
# A shell ignores it for what it starts in the background, and so would the processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
# Tracing makes many objects and hardly a circle of them; looking for circles takes a twentieth.
gc.freeze()
gc.set_threshold(100_000, 50, 100)

TESTS = pathlib.Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
SHARED = pathlib.Path(os.environ.get("RCC_SHARED", REPOSITORY.parent / "shared"))


# Files whose tests share the runs of a fixture, the dearest first.
SHARE_RUNS = (
    "rcc_jax/training/test_topologies.py",
    "test_end_to_end.py",
    "rcc_jax/commands/test_sweep.py",
    "test_several_processes.py",
    "rcc_jax/models/test_oracle.py",
    "rcc_jax/commands/test_predict.py",
    "rcc_jax/commands/test_export.py",
    "rcc_jax/commands/test_label.py",
    "rcc_jax/training/test_torch_trajectory.py",
)


@pytest.hookimpl(trylast=True)  # After those that leave tests out.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests that share runs where each worker of pytest-xdist begins.

    With work stealing a worker starts with one part of the list, all being equally long, and one
    that is done takes tests off the end of another's. So a fixture is rarely made twice.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files = {TESTS / name: [] for name in SHARE_RUNS}
    rest = []
    for item in items:
        files.get(item.path, rest).append(item)
    starts = [[] for _ in range(workers)]
    for number, tests in enumerate(files.values()):
        starts[number % workers] += tests
    ordered = []
    for number, start in enumerate(starts):
        size = (len(items) - len(ordered)) // (workers - number)
        fill = max(0, size - len(start))
        ordered += start + rest[:fill]
        rest = rest[fill:]
    items[:] = ordered


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory) -> pathlib.Path:
    """One folder of compiled programs for all tests of this session and the processes they start.

    It lies below the session's temporary folder, where the workers of pytest-xdist share it. The
    processes have their home there, so that none of them touches the user's cache.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = commands.use_home(root / "home")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", commands.WORTH_KEEPING)
    return folder


@pytest.fixture(scope="session", params=["small", "whole"])
def small_and_whole_oracles(request) -> pathlib.Path:
    """The folder of the small recorded numbers, which every clone has, then that of all."""
    if request.param == "small":
        return TESTS / "oracles"
    return request.getfixturevalue("oracles")


@pytest.fixture(scope="session")
def oracles() -> pathlib.Path:
    """Folder of recorded results of independent implementations; a plain clone has none."""
    folder = SHARED / "oracles"
    if not folder.is_dir():
        pytest.skip(f"optional: no recorded numbers at {folder} (set RCC_SHARED to their parent)")
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on the loopback address that this process takes for the hub, with an empty cache."""
    from huggingface_hub import constants

    from tests.support import local_hub

    monkeypatch.delenv("CI", raising=False)
    with local_hub.serve() as served:
        url = f"{served.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        values = {
            "ENDPOINT": served.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": url,
            "HF_HUB_CACHE": str(served.use_cache(tmp_path / "cache")),
            "HF_HUB_OFFLINE": False,
        }
        # What HF_ENDPOINT and the like are when the client is imported.
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value)
        yield served


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder with CamVid and backbone weights; a plain clone has none."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"optional: no data at {folder} (set RCC_SHARED to its parent)")
    return folder
