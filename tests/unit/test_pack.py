"""Payloads as integers, and the scoreboard that compares them."""

from __future__ import annotations

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from sim.pack import flat, pack, unpack
from sim.scoreboard import Mismatch, Scoreboard

LAYOUT = data.StructLayout(
    {"tag": unsigned(3), "parts": data.ArrayLayout(signed(5), 4), "pair": data.StructLayout({"a": 1, "b": signed(9)})}
)
VALUES = st.fixed_dictionaries(
    {
        "tag": st.integers(0, 7),
        "parts": st.lists(st.integers(-16, 15), min_size=4, max_size=4),
        "pair": st.fixed_dictionaries({"a": st.integers(0, 1), "b": st.integers(-256, 255)}),
    }
)


@given(VALUES)
def test_unpack_is_the_inverse_of_pack(fields: dict) -> None:
    word = pack(LAYOUT, fields)
    assert 0 <= word < 1 << LAYOUT.size
    assert unpack(LAYOUT, word) == fields


@given(VALUES)
def test_packing_agrees_with_amaranth(fields: dict) -> None:
    assert pack(LAYOUT, fields) == LAYOUT.const(fields).as_value().value


@pytest.mark.parametrize(
    ("shape", "value"), [(unsigned(3), 8), (unsigned(3), -1), (signed(5), 16), (signed(5), -17), (1, 2)], ids=str
)
def test_a_value_that_does_not_fit_is_refused(shape: object, value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack(shape, value)  # type: ignore[arg-type]


def test_unknown_fields_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fields \['tog'\] are not among"):
        pack(LAYOUT, {"tog": 1})
    with pytest.raises(ValueError, match="3 elements: the layout has 4"):
        pack(LAYOUT, {"parts": [1, 2, 3]})


def test_flat_names_every_number() -> None:
    assert flat(unpack(LAYOUT, pack(LAYOUT, {"tag": 5, "parts": [1, -2, 3, -4], "pair": {"b": -9}}))) == {
        "tag": 5,
        **{f"parts[{n}]": value for n, value in enumerate([1, -2, 3, -4])},
        "pair.a": 0,
        "pair.b": -9,
    }


def test_a_scoreboard_names_cycle_index_field_and_both_values() -> None:
    board = Scoreboard("out", LAYOUT, [pack(LAYOUT, {"tag": 1}), pack(LAYOUT, {"pair": {"b": -3}})])
    board.check(pack(LAYOUT, {"tag": 1}), 10)
    with pytest.raises(Mismatch, match=r"out: cycle 17, word 1: 1 fields differ: pair\.b = 4, expected -3"):
        board.check(pack(LAYOUT, {"pair": {"b": 4}}), 17)


def test_a_scoreboard_fails_on_leftovers_on_surplus_and_on_nothing() -> None:
    with pytest.raises(Mismatch, match="2 expected words never came"):
        Scoreboard("out", LAYOUT, [1, 2]).finish()
    with pytest.raises(Mismatch, match="nothing was compared"):
        Scoreboard("out", LAYOUT).finish()
    with pytest.raises(Mismatch, match="nothing more was expected"):
        Scoreboard("out", LAYOUT).check(0, 0)
