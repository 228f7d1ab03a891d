"""Declares the fields of configurations and methods: default, bounds and meaning."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_UNSET = object()


@dataclasses.dataclass(frozen=True)
class Option:
    """The declaration of a field.

    Attributes:
        default: The default value.
        doc: One or two sentences for the user.
        choices: The allowed values; empty if any value within the bounds is allowed.
        at_least, above, at_most, below: Bounds of a number; None for no bound.
        short: Its name as an argument of a configuration file: `--config=FILE:short=value`.
        symbol: Its name in tables, such as 'N' or 'lambda'; empty for the name of the field.
        in_tables: Whether tables tell runs apart by the field.
        may_change: Whether a run may resume with another value. Only for fields that do not change
            what the training computes.
        per_process: Whether the processes of one run may have different values.
        only: The kind of network or of optimizer that has the field; empty if every kind has it.
        only_with: Another field of the same group and its values with which this field has an
            effect; empty if it always has.
        before: The value that reproduces a run that was recorded before the field existed.
    """

    default: Any
    doc: str
    choices: tuple = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    short: str = ""
    symbol: str = ""
    in_tables: bool = True
    may_change: bool = False
    per_process: bool = False
    only: str = ""
    only_with: tuple[str, ...] = ()
    before: Any = _UNSET

    @property
    def came_later(self) -> bool:
        """Whether some runs were recorded before the field existed."""
        return self.before is not _UNSET

    def fault(self, field: str, value: Any) -> str | None:
        """A message that says why a value cannot be used; None if it can.

        >>> Option(1.0, "Temperature.", above=0).fault("method.temperature", -1)
        'config.method.temperature = -1 must be above 0.'
        """
        said = f"config.{field} = {value!r}"
        if self.choices:
            allowed = ", ".join(map(str, self.choices))
            known = value in self.choices
            return None if known else f"{said} is not known; use one of {allowed}."
        if self._is_within(value):
            return None
        return f"{said} must be {self._bounds()}."

    def described(self) -> str:
        """The allowed values as a sentence; empty if any value is allowed.

        >>> Option(1.0, "Temperature.", above=0).described()
        'Above 0.'
        """
        if self.choices:
            return f"One of {', '.join(map(str, self.choices))}."
        bounds = self._bounds()
        return f"{bounds[0].upper()}{bounds[1:]}." if bounds else ""

    def _is_within(self, value: Any) -> bool:
        if not self._bounds():
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def _bounds(self) -> str:
        if self.above is not None:
            return f"above {self.above}"
        if self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        if self.below is not None:
            return f"from {self.at_least} to below {self.below}"
        return "" if self.at_least is None else f"at least {self.at_least}"


def option(default: Any, doc: str, **more: Any) -> Any:
    """A field of a dataclass with its `Option`.

    Args:
        default: The default value.
        doc: What the field means.
        **more: Other attributes of `Option`.
    """
    return dataclasses.field(
        default=default, metadata={"option": Option(default, doc, **more)}, kw_only=True
    )


def options(declared: type) -> Mapping[str, Option]:
    """The options of a dataclass by field name, in the order of the class."""
    return {
        field.name: field.metadata["option"]
        for field in dataclasses.fields(declared)
        if "option" in field.metadata
    }


def effectless(
    declared: Mapping[str, Option], values: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """The fields that have no effect with the values of others, each with its `only_with`.

    Args:
        declared: The options by field name.
        values: Values by field name; an absent or empty one stands for the default.
    """
    found = {}
    for field, each in declared.items():
        other, *wanted = each.only_with or ("",)
        if other and (values.get(other) or declared[other].default) not in wanted:
            found[field] = each.only_with
    return found


def without_effectless(declared: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the defaults of those fields that have no effect."""
    idle = effectless(declared, values).keys() & values.keys()
    return {**values, **{field: declared[field].default for field in idle}}
