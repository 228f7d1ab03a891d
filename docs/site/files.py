"""Which files the site of `make docs` holds: the pages where they lie, so that their links hold."""

import pathlib

from mkdocs.structure.files import File, Files

_REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
_PATTERNS = (
    "*.md",
    "docs/*.md",
    "docs/*.png",
    "launch/*.md",
    "benchmarks/README.md",
    "benchmarks/results/**/*.svg",
    "benchmarks/results/**/*.png",
)


def on_files(files: Files, config) -> Files:
    """Replaces the files of `docs/` by those of the repository, with their paths in it."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted(path for pattern in _PATTERNS for path in _REPOSITORY.glob(pattern))
    names = [path.relative_to(_REPOSITORY).as_posix() for path in paths]
    found = [
        File.generated(config, name, abs_src_path=str(path))
        for name, path in zip(names, paths, strict=True)
    ]
    return Files([*theme, *found])
