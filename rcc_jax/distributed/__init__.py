"""Devices, processes and how they stop together."""
