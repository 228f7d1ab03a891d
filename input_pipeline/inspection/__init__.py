"""Reads all data and says what is wrong with them, for `--mode=check`."""
