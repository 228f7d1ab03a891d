"""The pages of the project: their links and commands, and the tables made from the code.

python -m tests.support.pages

writes those tables anew, between the marks `<!-- NAME: made by tests/support/pages.py -->` and
`<!-- NAME: end -->`.
"""

import ast
import pathlib
import re
import shlex
from collections.abc import Iterator

from tests.support.commands import REPOSITORY

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/README.md", "launch/*.md")
    for path in REPOSITORY.glob(pattern)
)
README = REPOSITORY / "README.md"
METHODS_PAGE = REPOSITORY / "docs" / "methods.md"
FIELDS_PAGE = REPOSITORY / "docs" / "fields.md"
FIELDS = ("top", "data", "model", "method", "optimizer", "train", "eval", "checkpoint")
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_COMMAND = re.compile(r"python (?:main\.py|-m rcc_jax) ")
# Words before a command that are not its own: variables, and the shell's way to end it.
_PREFIX = re.compile(r"(?:\w+=\S+ |timeout \d+ )*")


def name_of(path: pathlib.Path) -> str:
    """The path of a page in the repository."""
    return path.relative_to(REPOSITORY).as_posix()


def links(path: pathlib.Path) -> list[str]:
    """The targets of the links and pictures of a page, as written."""
    return _LINK.findall(_FENCE.sub("", path.read_text()))


def anchors(path: pathlib.Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {_anchor(heading) for heading in headings}


def sections(path: pathlib.Path) -> dict[str, str]:
    """The text below each heading '## ...' of a page, by the anchor of the heading."""
    _, *parts = re.split(r"^## (.+)$", path.read_text(), flags=re.MULTILINE)
    return {_anchor(heading): text for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def blocks(text: str) -> list[str]:
    """The blocks of code of a text."""
    return _FENCE.findall(text)


def code(path: pathlib.Path) -> Iterator[str]:
    """Every line of code of a page, continued lines joined, then its inline code."""
    text = path.read_text()
    for block in _FENCE.findall(text):
        yield from block.replace("\\\n", " ").splitlines()[1:-1]
    yield from re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def commands(path: pathlib.Path) -> list[list[str]]:
    """The arguments of every `python main.py ...` of a page."""
    found = []
    for line in code(path):
        command = line[_PREFIX.match(line).end() :]
        if _COMMAND.match(command):
            words = shlex.split(command, comments=True)
            found.append(words[2 if words[1] == "main.py" else 3 :])
    return found


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def packages() -> str:
    """A table of the packages, with the first line of the docstring of each."""
    lines = ["| package | purpose |", "| --- | --- |"]
    for top in ("rcc_jax", "input_pipeline"):
        for file in sorted((REPOSITORY / top).glob("*/__init__.py")):
            text = ast.get_docstring(ast.parse(file.read_text())).splitlines()[0]
            lines.append(f"| `{name_of(file.parent)}` | {text} |")
    return "\n".join(lines)


def methods(page: pathlib.Path) -> str:
    """The table of methods for a page, in README with links."""
    from rcc_jax.methods import METHODS

    lines = ["| `method.name` | idea | reference |", "| --- | --- | --- |"]
    for name, method in METHODS.items():
        cell = (
            f"[`{name}`](docs/methods.md#{name.replace('_', '-')})"
            if page == README
            else f"`{name}`"
        )
        lines.append(f"| {cell} | {method.summary} | {method.reference} |".replace("|  |", "| |"))
    return "\n".join(lines)


def fields(group: str) -> str:
    """The table of a group of fields, or of a method's own ones."""
    from rcc_jax.config import groups, schema
    from rcc_jax.options import options

    if group == "method":
        declared = {
            name: (option, [m for m in schema.METHODS if name in schema.method_fields(m)])
            for name, option in schema.method_fields(schema.AUTO).items()
        }
    else:
        of_group = options(groups.Top if group == "top" else groups.GROUPS[group])
        declared = {name: (option, []) for name, option in of_group.items()}
    lines = ["| field | default | meaning |", "| --- | --- | --- |"]
    for name, (option, owners) in declared.items():
        field = name if group == "top" else f"{group}.{name}"
        own = {method: schema.method_fields(method)[name] for method in owners}
        text = " ".join(filter(None, _meaning(group, option, own)))
        text = text.replace("|", "\\|").replace("*", "\\*")
        differs = len({each.default for each in own.values()}) > 1
        default = "each method's own" if differs else f"`{option.default!r}`"
        lines.append(f"| `{field}` | {default} | {text} |")
    return "\n".join(lines)


def _meaning(group, option, own) -> Iterator[str]:
    """Sentences on a field: its values, its methods, its argument and what it goes with.

    Args:
        group: The group of the field.
        option: The declaration of the field.
        own: The declaration in each method that has the field.
    """
    if own:
        most, *few = _by_text({method: each.doc for method, each in own.items()})
        yield most[0]
        yield from (f"{', '.join(methods)}: {text}" for text, methods in few)
        most, *few = _by_text({method: each.described() for method, each in own.items()})
        yield from (f"{', '.join(methods)}: {text}" for text, methods in few)
        yield f"The others: {most[0]}" if few else most[0]
    else:
        yield option.doc
        yield option.described()
    yield _owners(list(own))
    if option.short:
        yield f"Argument: `{option.short}=`."
    limited = [method for method, each in own.items() if each.only_with]
    if limits := own[limited[0]].only_with if limited else option.only_with:
        other, *wanted = limits
        where = f" (in {', '.join(limited)})" if len(limited) < len(own) else ""
        yield f"Only with {group}.{other} = {' or '.join(wanted)}{where}."


def _by_text(texts: dict[str, str]) -> list[tuple[str, list[str]]]:
    """The texts with the methods that share them, the most common one first."""
    found = {}
    for method, text in texts.items():
        found.setdefault(text, []).append(method)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _owners(methods: list[str]) -> str:
    """Which methods have a field; empty if all have it."""
    from rcc_jax.config import schema

    if len(methods) in (0, len(schema.METHODS)):
        return ""
    if methods == [m for m in schema.METHODS if "consensus" in schema.method_fields(m)]:
        return "Methods with a consensus term."
    return f"Methods: {', '.join(methods)}."


def table(page: pathlib.Path, name: str) -> str:
    """What a page has between the marks of this name."""
    return _between(name).search(page.read_text())[0].rstrip("\n")


def _between(name: str) -> re.Pattern:
    start = re.escape(f"<!-- {name}: made by tests/support/pages.py -->\n")
    return re.compile(f"(?<={start}).*?(?=<!-- {name}: end -->)", re.DOTALL)


def _write() -> None:
    made = {CONTRIBUTING: ("packages", packages())}
    made |= {page: ("methods", methods(page)) for page in (README, METHODS_PAGE)}
    for page, (name, text) in [*made.items(), *((FIELDS_PAGE, (g, fields(g))) for g in FIELDS)]:
        page.write_text(_between(name).sub(lambda _, text=text: f"{text}\n", page.read_text()))


if __name__ == "__main__":
    _write()
