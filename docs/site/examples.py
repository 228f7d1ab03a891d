"""Shows the examples in docstrings as code in the reference of `make docs`."""

import re

import griffe

_EXAMPLE = re.compile(r"^(>>> .*?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


class Examples(griffe.Extension):
    """Fences every session of a docstring, which otherwise would be read as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Changes the text of a docstring once its object is read."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\1\n```", obj.docstring.value)
