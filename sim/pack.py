"""Payloads as integers: a stream's payload is one wide port, whose fields are given by its layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import data

Fields = Any
"""What a layout holds: a dict of fields, a list of elements, or an integer."""


def pack(layout: ShapeLike, value: Fields) -> int:
    """The integer whose bits are `value` laid out as `layout`: dicts for structures, sequences for arrays.

    Missing fields are zero. A value that does not fit, or an unknown field, raises ValueError.
    """
    if isinstance(layout, data.StructLayout):
        members = dict(iter(layout))
        unknown = set(value) - set(members)
        if unknown:
            raise ValueError(f"fields {sorted(unknown)} are not among {sorted(members)}")
        word = 0
        for name, part in value.items():
            word |= pack(members[name].shape, part) << members[name].offset
        return word
    if isinstance(layout, data.ArrayLayout):
        if len(value) != layout.length:
            raise ValueError(f"{len(value)} elements: the layout has {layout.length}")
        width, word = Shape.cast(layout.elem_shape).width, 0
        for part in reversed(value):
            word = word << width | pack(layout.elem_shape, part)
        return word
    shape, number = Shape.cast(layout), int(value)
    if not -(shape.signed << shape.width >> 1) <= number < 1 << (shape.width - shape.signed):
        raise ValueError(f"{number} does not fit {shape!r}")
    return number & ((1 << shape.width) - 1)


def unpack(layout: ShapeLike, word: int) -> Fields:
    """The fields of an integer: the inverse of `pack`."""
    if isinstance(layout, data.StructLayout):
        return {name: unpack(field.shape, word >> field.offset) for name, field in layout}
    if isinstance(layout, data.ArrayLayout):
        width = Shape.cast(layout.elem_shape).width
        return [unpack(layout.elem_shape, word >> n * width) for n in range(layout.length)]
    shape = Shape.cast(layout)
    number = word & ((1 << shape.width) - 1)
    return number - (1 << shape.width) if shape.signed and number >> (shape.width - 1) else number


def flat(fields: Fields, path: str = "") -> dict[str, int]:
    """All numbers of nested fields by their path, such as `tag.scales[3].key_mantissa`."""
    if isinstance(fields, Mapping):
        parts = [(f"{path}.{name}" if path else name, part) for name, part in fields.items()]
    elif isinstance(fields, list):
        parts = [(f"{path}[{n}]", part) for n, part in enumerate(fields)]
    else:
        return {path: fields}
    return {key: value for name, part in parts for key, value in flat(part, name).items()}
