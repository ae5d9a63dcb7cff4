"""Buffers: no cell drives more than its library allows, with as little area as one kind of buffer takes."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import pytest

from scripts.buffers import buffer, bundles, cheapest, limit
from scripts.cell_library import Library
from scripts.timing import loads, wire_default
from sim.gates import Network, evaluate

SINK = 4.0
"""fF of an inverter's input, 2, and of the wire to it."""


def fan(readers: int) -> dict[str, Any]:
    """A module whose input goes through an inverter to `readers` others, each with an output port, and to a port."""
    outputs = list(range(3, 3 + readers))
    cells = [(1, 2), *((2, net) for net in outputs)]
    return {
        "ports": {"a": {"direction": "input", "bits": [1]}, "y": {"direction": "output", "bits": [*outputs, 2]}},
        "cells": {f"cell_{n}": {"type": "INV", "connections": {"A": [a], "Y": [y]}} for n, (a, y) in enumerate(cells)},
        "netnames": {},
    }


@pytest.mark.parametrize("readers", [1, 14, 15, 40, 300, 2000])
def test_no_cell_drives_more_than_it_may(library: Library, readers: int) -> None:
    before = fan(readers)
    module = copy.deepcopy(before)
    buffer(module, library)
    load = loads(Network(module, library.gates), library, wire_default(library), wire_default(library))
    for cell in module["cells"].values():
        assert load[cell["connections"]["Y"][0]] <= library.cells[cell["type"]].pins["Y"].max_capacitance
    # The port at the inverter takes 4 of 60 fF; a buffer takes 15 inverters, and so does the inverter but for the port.
    added = len(module["cells"]) - len(before["cells"])
    assert (added > 0) == (readers > 14)
    if readers == 40:
        assert added == 3
    bits = {"a": [0, 1, 1, 0, 1]}
    assert evaluate(module, library.gates, bits) == evaluate(before, library.gates, bits)


def test_an_input_port_is_taken_for_the_smallest_buffer(library: Library) -> None:
    module = fan(1)
    module["cells"] |= {f"more_{n}": {"type": "INV", "connections": {"A": [1], "Y": [100 + n]}} for n in range(20)}
    buffer(module, library)
    taken = defaultdict(int)
    for name, cell in module["cells"].items():
        taken[cell["connections"]["A"][0]] += 1
        assert name.startswith("buffer_") == (cell["type"] == "BUF")
    assert taken[1] == 2  # buffers, for 21 inverters


def test_bundles_by_hand() -> None:
    assert bundles([4, 4, 4, 4], 8) == [2, 2]
    assert bundles([4, 9, 4], 8) == [1, 1, 1]  # what no driver can take has one of its own
    assert bundles([], 8) == []


def test_the_cheapest_kind_of_buffer_is_taken(library: Library) -> None:
    cell, counts = cheapest(library, [SINK] * 16)
    assert cell in library.buffers and sum(counts) == 16
    assert cell.area * len(counts) == min(kind.area * -(-16 // (limit(kind) // SINK)) for kind in library.buffers)
