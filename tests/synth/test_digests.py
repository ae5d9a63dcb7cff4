"""What is synthesized once is found again under another name, and nothing else is."""

from __future__ import annotations

import dataclasses

import pytest

from golden.presets import preset
from rtl import layouts
from rtl.components import COMPONENTS
from rtl.emit import to_rtlil
from scripts.digests import digests

TINY = preset("tiny")


def text(component: str, **changes: int | str) -> str:
    """RTLIL of a component of the preset tiny, with some fields changed."""
    return to_rtlil(COMPONENTS[component](dataclasses.replace(TINY, **changes)), component)


@pytest.mark.parametrize(
    ("component", "part"), [("arbiter", f"bank_arbiter_{layouts.word(TINY).size}"), ("score", "score")]
)
def test_a_component_is_found_as_a_part_under_any_name(component: str, part: str) -> None:
    whole = "value_buffer" if component == "arbiter" else "core"
    assert digests(text(whole))[part] == digests(text(component))[component]


def test_what_differs_far_below_is_not_alike() -> None:
    """The adders are two levels below the top, which is the same."""
    one, other = (digests(text("core", adder=adder)) for adder in ("carry", "save"))
    assert one["core"] != other["core"]
    assert one["key_multiplier"] != other["key_multiplier"]
    assert one["softmax"] == other["softmax"]


def test_variants_of_the_same_name_are_not_alike() -> None:
    narrow, wide = (digests(text("restore", lanes=lanes))["restore"] for lanes in (2, 4))
    assert narrow != wide
