"""Reads all data and says what is in them and what is wrong, for `--mode=check`."""
