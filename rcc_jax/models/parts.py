"""Splits a tree of weights into the encoder and the rest, and joins the two again."""

from collections.abc import Mapping
from typing import Any

from rcc_jax.models.families import ENCODER

Tree = Mapping[Any, Any]


def outside_encoder(tree: Tree) -> dict[Any, Any]:
    """A tree of nested dicts without every encoder in it; dicts that become empty are left out.

    >>> outside_encoder({"main": {"backbone": {"a": 1}, "head": {"b": 2}}})
    {'main': {'head': {'b': 2}}}
    """
    found = {}
    for key, value in tree.items():
        if key == ENCODER:
            continue
        if not isinstance(value, Mapping):
            found[key] = value
        elif part := outside_encoder(value):
            found[key] = part
    return found


def inside_encoder(tree: Tree) -> dict[Any, Any]:
    """The encoders in a tree of nested dicts, at their places.

    >>> inside_encoder({"main": {"backbone": {"a": 1}, "head": {"b": 2}}})
    {'main': {'backbone': {'a': 1}}}
    """
    found = {}
    for key, value in tree.items():
        if key == ENCODER:
            found[key] = value
        elif isinstance(value, Mapping) and (part := inside_encoder(value)):
            found[key] = part
    return found


def joined(first: Tree, second: Tree) -> dict[Any, Any]:
    """Two nested dicts as one; leaves of the first where both have one.

    >>> joined({"a": {"b": 1}}, {"a": {"b": 3, "c": 2}})
    {'a': {'b': 1, 'c': 2}}
    """
    found = {**second, **first}
    for key in first.keys() & second.keys():
        if isinstance(first[key], Mapping) and isinstance(second[key], Mapping):
            found[key] = joined(first[key], second[key])
    return found
