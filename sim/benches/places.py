"""Bench of the places: heads of many shapes, row by row."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge

from golden.tiles import TEXT, make_tiles
from rtl.head import shape
from rtl.places import place
from sim import job
from sim.pack import pack, unpack
from sim.scoreboard import Mismatch
from sim.testbench import Testbench

SHAPES = [((3, 5, 7), 11), ((1, 1, 1), 0), ((4, 2, 3), 1), ((0, 0, 0), 9), ((2, 8, 8), 0), ((2, 4, 4), 16)]


@cocotb.test()
async def heads(dut: Any) -> None:
    """One head after the other, with a pause before every third row."""
    config, _ = job.read()
    dut.step.value = 0
    await Testbench(dut).reset()
    compared = 0
    for grid, text in SHAPES:
        tiles = make_tiles(config, grid, text, config.tile)
        size = int(np.prod(grid[1:]))
        tokens = {"text_tokens": text, "frame_tokens": size}
        frames = np.append(tiles.frame, TEXT - 1)
        for n in range(len(tiles.order)):
            tile = int(np.searchsorted(tiles.start, n, side="right") - 1)
            last = n == len(tiles.order) - 1
            tile_end = n + 1 == tiles.start[tile + 1]
            own, index, part = (0, n, text) if n < text else (1 + (n - text) // size, (n - text) % size, size)
            wanted = {
                "cell_end": n + 1 in tiles.cell_start,
                "piece_end": n + 1 in tiles.piece_start,
                "tile_end": tile_end,
                "frame_end": tile_end and frames[tile + 1] != frames[tile],
                "frame": frames[tile] + 1,
                "last": last,
                "own_frame": own,
                "index": index,
                "next_index": 0 if last or index + 1 == part else index + 1,
            }
            for step in (0, 1) if n % 3 == 0 else (1,):
                await RisingEdge(dut.clk)
                dut.step.value, dut.last.value, dut.tokens.value = step, last, pack(shape(config), tokens)
            await ReadOnly()
            got = unpack(place(config), int(dut.here.value)) | {
                name: int(getattr(dut, name).value) for name in ("own_frame", "index", "next_index")
            }
            if got != {name: int(value) for name, value in wanted.items()}:
                raise Mismatch(f"here: head {grid} + {text}, row {n}: {got}, expected {wanted}")
            compared += len(wanted)
    job.report(words_compared=compared, cycles=compared, mismatches=0)
