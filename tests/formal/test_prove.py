"""Proofs: every property holds, its cover is reached, and its mutant is found."""

from __future__ import annotations

import dataclasses

import pytest

from sim.mutants import Edit
from sim.properties import PROPERTIES
from sim.prove import properties, prove


@pytest.mark.parametrize("name", [wanted.name for wanted in PROPERTIES])
def test_a_property_holds(name: str) -> None:
    (wanted,) = properties((name,))
    outcome = prove(wanted)
    assert outcome.holds, outcome


def test_names_are_unique() -> None:
    assert len({wanted.name for wanted in PROPERTIES}) == len(PROPERTIES) > 20


def test_a_harmless_mutant_counts_as_surviving() -> None:
    (wanted,) = properties(("one_grant",))
    harmless = Edit("arbiter", "winner.eq(first & (~first + 1))", "winner.eq(first & -first)")
    outcome = prove(dataclasses.replace(wanted, mutant=harmless))
    assert outcome.proved
    assert not outcome.mutant_killed
    assert not outcome.holds


def test_a_false_claim_is_not_proved() -> None:
    (wanted,) = properties(("bounded_wait",))
    outcome = prove(dataclasses.replace(wanted, induction=1))
    assert not outcome.proved
    assert "induction failed" in outcome.finding


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(ValueError, match="property 'luck': must be one of one_grant"):
        properties(("luck",))
