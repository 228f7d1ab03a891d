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
    kept = [file for file in files if file.generated_by or file.abs_src_path is None]
    paths = sorted(path for pattern in _PATTERNS for path in _REPOSITORY.glob(pattern))
    found = [
        File.generated(config, path.relative_to(_REPOSITORY).as_posix(), abs_src_path=str(path))
        for path in paths
    ]
    return Files([*kept, *found])
