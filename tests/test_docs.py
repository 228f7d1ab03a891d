"""The pages and docstrings say what the code does; nothing is trained here."""

import doctest
import importlib
import json
import pathlib
import re
import subprocess
import sys

import jax.numpy as jnp
import pytest
from absl import flags

from rcc_jax.commands import flags as cli
from rcc_jax.config import fields
from rcc_jax.methods import METHODS
from tests.support import pages
from tests.support.commands import ENVIRONMENT, REPOSITORY

EXAMPLES = sorted(
    path
    for top in ("rcc_jax", "input_pipeline")
    for path in (REPOSITORY / top).rglob("*.py")
    if re.search(r"^ *>>> (?!.*\+SKIP)", path.read_text(), re.MULTILINE)
)
every_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)


@pytest.mark.parametrize(
    "page", [path for path in pages.PAGES if ">>> " in path.read_text()], ids=pages.name_of
)
def test_sessions_of_the_pages(page):
    result = doctest.testfile(str(page), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 10


@pytest.mark.parametrize("path", EXAMPLES, ids=pages.name_of)
def test_examples_in_the_docstrings(path):
    module = importlib.import_module(pages.name_of(path).removesuffix(".py").replace("/", "."))
    result = doctest.testmod(module, extraglobs={"jnp": jnp})
    assert result.failed == 0
    assert result.attempted > 0


@every_page
def test_links_lead_somewhere(page):
    for link in pages.links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(REPOSITORY), link
        if anchor:
            assert anchor in pages.anchors(target), link


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [pages.README]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = [page.parent / link.partition("#")[0] for link in pages.links(page)]
            waiting += [path.resolve() for path in targets if path.suffix == ".md"]
    # The site alone shows the reference of the Python interface.
    assert set(pages.PAGES) - reached == {REPOSITORY / "docs" / "api.md"}


def said(commands, folder):
    """The program's message for each of these lists of arguments; '' if it accepts them."""
    (folder / "configs").symlink_to(REPOSITORY / "configs")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.read_commands"],
        input=json.dumps(commands),
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    return json.loads(done.stdout)


def test_commands_can_be_read_by_the_program(tmp_path):
    found = [(pages.name_of(path), words) for path in pages.PAGES for words in pages.commands(path)]
    assert len(found) > 30
    messages = said([words for _, words in found], tmp_path)
    faults = [(*each, message) for each, message in zip(found, messages, strict=True) if message]
    assert faults == []


def test_wrong_commands_are_noticed(tmp_path):
    wrong = {
        "there is no such flag": ["--config=demo", "--steps=3"],
        "did you mean --config.data.crop_size": ["--config=demo", "--config.data.cropsize=3"],
        "'methd=rcc' is not known": ["--config=configs/camvid.py:1_8,methd=rcc"],
        "no such file": ["--config=configs/camvit.py"],
        "there is no such field": ["--mode=sweep", "--config=sweeps/camvid", "--set=data.rot=DIR"],
        "--input belongs to --mode=predict": ["--mode=eval", "--workdir=runs/a", "--input=b"],
    }
    for part, message in zip(wrong, said(list(wrong.values()), tmp_path), strict=True):
        assert part in message


@every_page
def test_fields_exist(page):
    known = fields.known()
    groups = "|".join(sorted({name.partition(".")[0] for name in known if "." in name}))
    text = page.read_text()
    named = re.findall(r"--config\.([\w.]+)", text)
    for code in pages.code(page):
        named += re.findall(rf"^(?:{groups})\.\w+(?==|$)", code)
    # Those of a method that the page itself declares, and FIELD, which stands for any.
    own = re.findall(r"^\.\.\. +(\w+): \w+ = option\(", text, re.MULTILINE)
    known = {*known, "FIELD", *(f"method.{name}" for name in own)}
    files = (".json", ".onnx", ".safetensors", ".stablehlo")
    assert [name for name in named if name not in known and not name.endswith(files)] == []


@every_page
def test_paths_exist(page):
    tops = "rcc_jax|input_pipeline|tests|benchmarks|launch|docs"
    for code in pages.code(page):
        # A module may be named without its suffix; NAME stands for any.
        for path in re.findall(rf"^(?:{tops})/[\w./-]+$", code):
            there = [REPOSITORY / path, REPOSITORY / f"{path}.py"]
            assert "NAME" in path or any(each.exists() for each in there), path


@every_page
def test_other_commands_exist(page):
    makefile = (REPOSITORY / "Makefile").read_text()
    for line in pages.code(page):
        if target := re.match(r"make ([\w-]+)", line):
            assert re.search(rf"^{target[1]}:", makefile, re.MULTILINE), line
        if script := re.match(r"python (benchmarks/[a-z_]+\.py)(.*)", line):
            _assert_flags(REPOSITORY / script[1], script[2])
        if module := re.match(r"python -m ((?:input_pipeline|rcc_jax|tests)\.[\w.]+)(.*)", line):
            path = REPOSITORY / module[1].replace(".", "/")
            _assert_flags(path / "__main__.py" if path.is_dir() else f"{path}.py", module[2])


def _assert_flags(script, arguments):
    assert pathlib.Path(script).exists()
    # Some scripts share their flags, in a module beside them.
    scripts = pathlib.Path(script).parent.glob("*.py")
    code = "".join(path.read_text() for path in scripts)
    for flag in re.findall(r"--([\w-]+)", arguments):
        assert f'"--{flag}"' in code, f"{script} {arguments}"


def test_readme_is_a_front_page():
    text = pages.README.read_text()
    assert len(text.splitlines()) <= 150
    modes = re.findall(r"^\| \[`(\w+)`\]\(.+\) \|", text.partition("## Methods")[0], re.MULTILINE)
    assert set(modes) == set(flags.FLAGS[cli.MODE.name].parser.enum_values)


def test_map_holds_every_package():
    table = pages.table(pages.CONTRIBUTING, "packages")
    # python -m tests.support.pages writes it anew.
    assert table == pages.packages()
    assert len(table.splitlines()) > 10


@pytest.mark.parametrize("page", [pages.README, pages.METHODS_PAGE], ids=pages.name_of)
def test_table_of_methods_is_that_of_the_registry(page):
    assert pages.table(page, "methods") == pages.methods(page)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_equation_and_a_command(name):
    section = pages.sections(pages.METHODS_PAGE)[name.replace("_", "-")]
    blocks = pages.blocks(section)
    assert any(re.search(rf"\bmethod={name}\b", block) for block in blocks)
    prose = section
    for block in blocks:
        prose = prose.replace(block, "")
    assert re.search(r"\bL = (?=.*\bL_x\b)", prose)


@pytest.mark.parametrize("group", pages.FIELDS)
def test_table_of_fields_is_that_of_the_schema(group):
    assert pages.table(pages.FIELDS_PAGE, group) == pages.fields(group)


def test_tables_of_methods_are_equal():
    readme = pages.table(pages.README, "methods")
    assert re.sub(r"\[(`\w+`)\]\(.+?\)", r"\1", readme) == pages.table(
        pages.METHODS_PAGE, "methods"
    )
