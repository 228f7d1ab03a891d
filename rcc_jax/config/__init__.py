"""Configurations: their fields, checks and guesses, without importing JAX."""
