"""Which packages may import which: those below them, and none above."""

import ast
import pathlib

import pytest

from tests.support.commands import REPOSITORY

GROUND = {"errors", "shipped", "options", "labels"}
# Modules and packages of rcc_jax, bottom first: what each may import of the project. A name means
# all that is in it; `input_pipeline` is the only one from outside.
ALLOWED = {
    "errors": set(),
    "labels": set(),
    "options": {"errors"},
    "shipped": {"errors", "input_pipeline"},
    "consensus": set(),
    "models": set(),
    "distributed": {"errors"},
    "methods": {"consensus", "models", "options", "errors", "labels"},
    "config": {"methods", "models.families", "input_pipeline", *GROUND},
    "evaluation": {"distributed", "models", "consensus", "config", *GROUND},
    "workdir": {"config", "distributed", "models", "input_pipeline", *GROUND},
    "reporting": {
        *("workdir", "config", "methods", "consensus", "input_pipeline", *GROUND),
        "evaluation.scores",
    },
}
ALLOWED["build"] = {*ALLOWED, "input_pipeline"}
ALLOWED["training"] = {*ALLOWED, "input_pipeline"}
ALLOWED["segmenter"] = {
    *("build", "workdir", "evaluation", "models", "distributed", "config", "input_pipeline"),
    *("reporting.palettes", *GROUND),
}
ALLOWED["commands"] = {*ALLOWED, "input_pipeline", "rcc_jax"}
# The package's front: the name Segmenter, loaded when it is asked for, and `python -m`.
ALLOWED["__init__"] = {"segmenter"}
ALLOWED["__main__"] = {"commands"}
# Other folders: the packages that they may import.
TOP = {
    "input_pipeline": {"input_pipeline"},
    "configs": {"configs", "input_pipeline", "rcc_jax"},
    "benchmarks": {"benchmarks", "configs", "input_pipeline", "rcc_jax"},
    "tests": {"tests", "configs", "input_pipeline", "rcc_jax"},
}
PROJECT = {*TOP, "rcc_jax"}
# File and import, and why it is let pass.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("rcc_jax/models/state_dict_files.py", "input_pipeline.files"): "the one atomic writer",
    ("tests/rcc_jax/commands/test_sweep.py", "benchmarks"): "a study of the sweep it has run",
    ("tests/support/torch_dinov2.py", "benchmarks"): "the network that is also timed",
}


def imports(file: pathlib.Path) -> dict[str, int]:
    """The full names that a file imports, wherever in it, with a line of each."""
    found = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name: node.lineno for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from .x import y` is x beside the file.
            parent = file.relative_to(REPOSITORY).parts[: -node.level] if node.level else ()
            module = ".".join([*parent, *filter(None, [node.module])])
            found |= {f"{module}.{alias.name}": node.lineno for alias in node.names}
    return found


def is_within(name: str, places: set[str]) -> bool:
    """Whether a full name is one of these places or lies in one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def forbidden(file: pathlib.Path) -> list[str]:
    """The imports of a file that it may not have."""
    path = file.relative_to(REPOSITORY)
    top, *rest = path.with_suffix("").parts
    if top == "rcc_jax":
        own = ALLOWED[rest[0]] | {rest[0]}
        allowed = {
            place if place in PROJECT else f"rcc_jax.{place}"
            for place in own
            # `import rcc_jax`, for the content of its __init__ alone.
            if place != "rcc_jax"
        }
        exact = own & {"rcc_jax"}
    else:
        allowed, exact = TOP.get(top, PROJECT), set()
        if path.parts[:2] == ("tests", "benchmarks"):
            allowed = PROJECT
    wrong = []
    for name, line in imports(file).items():
        package = name.split(".")[0]
        is_jax = top == "input_pipeline" and package in ("jax", "jaxlib", "flax", "optax", "orbax")
        if package not in PROJECT and not is_jax:
            continue
        excused = any(
            is_within(name, {place}) for excused, place in EXCEPTIONS if excused == str(path)
        )
        if name not in exact and not is_within(name, allowed) and not excused:
            wrong.append(f"{path}:{line} imports {name}")
    return wrong


def files(*folders: str) -> list[pathlib.Path]:
    return [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def test_imports_go_down_only():
    found = [line for file in files(*PROJECT) for line in forbidden(file)]
    assert not found, "\n".join(found)


def test_every_part_of_the_package_is_in_the_table():
    parts = {
        path.stem
        for path in (REPOSITORY / "rcc_jax").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts <= ALLOWED.keys()


def test_the_table_has_no_circle():
    done = {"input_pipeline", "rcc_jax"}
    for part, allowed in ALLOWED.items():
        if part not in ("__init__", "__main__"):
            assert {place.split(".")[0] for place in allowed} <= done | GROUND, part
        done.add(part)


def test_no_exception_is_left_over():
    for path, name in EXCEPTIONS:
        found = imports(REPOSITORY / path)
        assert any(is_within(each, {name}) for each in found), (path, name)


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("rcc_jax/training/x.py", "def f():\n    from rcc_jax.commands import evaluate", True),
        ("rcc_jax/models/x.py", "from rcc_jax import errors", True),
        ("rcc_jax/models/x.py", "from rcc_jax.models import conv\nimport jax", False),
        ("rcc_jax/reporting/x.py", "import rcc_jax.evaluation.evaluator", True),
        ("rcc_jax/reporting/x.py", "from rcc_jax.evaluation import scores", False),
        ("rcc_jax/config/x.py", "from configs import common", True),
        ("input_pipeline/sources/x.py", "import jax.numpy as jnp", True),
        ("input_pipeline/sources/x.py", "from rcc_jax.errors import ConfigError", True),
        ("input_pipeline/sources/x.py", "from . import base", False),
        ("benchmarks/x.py", "from tests.support import runs", True),
        ("tests/x.py", "from benchmarks import study", True),
        ("tests/benchmarks/x.py", "from benchmarks import study", False),
    ],
)
def test_a_forbidden_import_is_found(monkeypatch, tmp_path, path, text, wrong):
    monkeypatch.setitem(globals(), "REPOSITORY", tmp_path)
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert bool(forbidden(file)) == wrong
