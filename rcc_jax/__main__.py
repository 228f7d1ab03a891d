"""`python -m rcc_jax`: the program of main.py, where the package is installed."""

import sys

try:
    from rcc_jax.commands import huge_pages

    if __name__ == "__main__":
        huge_pages.ask()  # Before the imports, which take time.
    from rcc_jax.commands import startup
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {sys.executable} lacks the package {error.name}, which `pip install rcc_jax` "
        "brings unless it is told --no-deps."
    )

if __name__ == "__main__":
    startup.run()
