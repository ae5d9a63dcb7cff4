"""The heart of every bench: one coroutine that drives and samples all streams once per cycle."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge


class Pauses:
    """Random stalls: in every cycle one begins with `probability`, and lasts 1 to `longest` cycles."""

    def __init__(self, probability: float = 0.0, longest: int = 4, seed: int = 0) -> None:
        self.probability, self.longest, self.rng = probability, longest, random.Random(seed)
        self.left = 0

    def __call__(self) -> bool:
        """Whether this cycle is stalled."""
        if not self.probability:
            return False
        if not self.left and self.rng.random() < self.probability:
            self.left = self.rng.randint(1, self.longest)
        stalled = self.left > 0
        self.left -= stalled
        return stalled


def handles(dut: Any, name: str) -> tuple[Any, Any, Any]:
    """Payload, valid and ready of the stream `name`."""
    payload, valid, ready = (getattr(dut, f"{name}__{part}") for part in ("payload", "valid", "ready"))
    return payload, valid, ready


class Port(Protocol):
    """What takes part in every cycle."""

    name: str
    cycles: list[int]
    """The cycles of all transfers."""

    def drive(self) -> None:
        """Set the ports after the clock's edge."""
        ...

    def sample(self, cycle: int) -> None:
        """Look at the ports once they have settled."""
        ...


class Source:
    """Sends words into the input stream `name` of the design, in order.

    `cycles` holds the cycle of every transfer. A word once offered stays until it is taken.
    """

    def __init__(self, dut: Any, name: str, words: Iterable[int] = (), pauses: Pauses | None = None) -> None:
        self.name, self.payload, self.valid, self.ready = name, *handles(dut, name)
        self.words, self.pauses = deque(words), pauses or Pauses()
        self.cycles: list[int] = []
        self.offered = self.driven = False
        self.valid.value = 0

    @property
    def done(self) -> bool:
        """All words were taken."""
        return not self.words

    def drive(self) -> None:
        """Set the ports after the clock's edge."""
        if not self.offered:
            self.offered = bool(self.words) and not self.pauses()
            if self.offered:
                self.payload.value = self.words[0]
            if self.offered != self.driven:
                self.valid.value = self.driven = self.offered

    def sample(self, cycle: int) -> None:
        """Look at the ports once they have settled."""
        if self.offered and int(self.ready.value):
            self.words.popleft()
            self.cycles.append(cycle)
            self.offered = False


class Sink:
    """Takes the words of the output stream `name` and hands each to `check`, with its cycle.

    A word that is withdrawn or changed before it was taken raises AssertionError.
    """

    def __init__(
        self, dut: Any, name: str, check: Callable[[int, int], None] | None = None, pauses: Pauses | None = None
    ) -> None:
        self.name, self.check, self.pauses = name, check, pauses or Pauses()
        self.payload, self.valid, self.ready = handles(dut, name)
        self.words: list[int] = []
        self.cycles: list[int] = []
        self.offered: int | None = None
        self.driven = False
        self.ready.value = 0

    def drive(self) -> None:
        """Set the ports after the clock's edge."""
        ready = not self.pauses()
        if ready != self.driven:
            self.ready.value = self.driven = ready

    def sample(self, cycle: int) -> None:
        """Look at the ports once they have settled."""
        if not int(self.valid.value):
            if self.offered is not None:
                raise AssertionError(f"{self.name}: cycle {cycle}: valid was withdrawn before the word was taken")
            return
        word = int(self.payload.value)
        if self.offered is not None and word != self.offered:
            raise AssertionError(
                f"{self.name}: cycle {cycle}: payload changed from {self.offered:#x} to {word:#x} while valid"
            )
        self.offered = None if self.driven else word
        if self.driven:
            self.words.append(word)
            self.cycles.append(cycle)
            if self.check:
                self.check(word, cycle)


class Held:
    """Plain input ports, set together at the start of a cycle; they keep their values."""

    name = "held"

    def __init__(self, dut: Any, *ports: str) -> None:
        self.ports = [getattr(dut, port) for port in ports]
        self.cycles: list[int] = []
        self.wanted: tuple[int, ...] | None = (0,) * len(ports)

    def set(self, *values: int) -> None:
        """Values from the next cycle on, in the order of the ports."""
        self.wanted = values

    def drive(self) -> None:
        """Set the ports after the clock's edge."""
        if self.wanted is not None:
            for port, value in zip(self.ports, self.wanted, strict=True):
                port.value = value
            self.wanted = None

    def sample(self, cycle: int) -> None:
        """Look at the ports once they have settled: there is nothing to see."""


class Testbench:
    """Clock, reset, and the cycle loop over all sources and sinks."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.ports: list[Port] = []
        self.cycle = 0
        self.bench_seconds = 0.0
        self._edge, self._settled = RisingEdge(dut.clk), ReadOnly()

    def source(self, name: str, words: Iterable[int] = (), pauses: Pauses | None = None) -> Source:
        """Drive the input stream `name`."""
        self.ports.append(port := Source(self.dut, name, words, pauses))
        return port

    def sink(self, name: str, check: Callable[[int, int], None] | None = None, pauses: Pauses | None = None) -> Sink:
        """Take the output stream `name`."""
        self.ports.append(port := Sink(self.dut, name, check, pauses))
        return port

    async def reset(self, start: bool = True) -> None:
        """Reset the design; `start` the clock, unless another bench of this test did."""
        self.dut.rst.value = 1
        if start:
            Clock(self.dut.clk, 2, "ns").start()
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def run(self, done: Callable[[], bool], limit: int) -> None:
        """Cycles until `done`; more than `limit` of them raise AssertionError: the design hangs."""
        stop = self.cycle + limit
        while not done():
            if self.cycle == stop:
                transfers = ", ".join(f"{port.name} {len(port.cycles)}" for port in self.ports)
                raise AssertionError(f"not done after {limit} cycles; transfers: {transfers}")
            await self.step()

    async def idle(self, cycles: int) -> None:
        """So many cycles more."""
        for _ in range(cycles):
            await self.step()

    async def step(self) -> None:
        """One cycle: all ports are driven after the clock's edge and sampled once they have settled.

        `bench_seconds` adds up what all this costs in Python, so that a simulation can tell it from the model's share.
        """
        await self._edge
        started = time.perf_counter()
        for port in self.ports:
            port.drive()
        self.bench_seconds += time.perf_counter() - started
        await self._settled
        started = time.perf_counter()
        for port in self.ports:
            port.sample(self.cycle)
        self.cycle += 1
        self.bench_seconds += time.perf_counter() - started
