"""The label that is ignored: one number, in two packages that do not import each other's."""

import ast

from input_pipeline.sources import labels as read
from rcc_jax import labels as counted
from tests.support.commands import REPOSITORY


def test_both_packages_ignore_the_same_label():
    assert read.IGNORE == counted.IGNORED == 255


def test_no_other_module_has_a_name_for_it():
    found = set()
    for package in ("rcc_jax", "input_pipeline"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and isinstance(
                    node.value, ast.Constant | ast.Tuple
                ):
                    values = getattr(node.value, "elts", [node.value])
                    if any(isinstance(x, ast.Constant) and x.value == 255 for x in values):
                        found.add((path.relative_to(REPOSITORY).as_posix(), ast.unparse(node)))
    found = {(path, text) for path, text in found if "IGNORE" in text and "COLOR" not in text}
    assert found == {
        ("input_pipeline/sources/labels.py", "IGNORE = 255"),
        ("rcc_jax/labels.py", "IGNORED = 255"),
    }
