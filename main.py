"""Starts rcc_jax in its own folder; where it is installed, `python -m rcc_jax` is the same."""

import sys

try:
    from rcc_jax.commands import huge_pages

    if __name__ == "__main__":
        huge_pages.ask()  # Before the imports, which take time.
    from rcc_jax.commands import startup
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {sys.executable} lacks the package {error.name}. In the project's folder run "
        "`make setup` once and then `.venv/python3/bin/python main.py ...`, or install with "
        "`pip install -r requirements.txt`."
    )

if __name__ == "__main__":
    startup.run()
