"""Plain multipliers, for the DSP blocks of an FPGA: dot products of an operand vector with whole codes in one pass.

operands --[held]--[ ]--+
                       (*)--[ ]--(adder tree)--> dot product of each reader
codes ----(number)-[ ]--+
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl.digits import number
from rtl.library import Named
from rtl.streams import delay
from rtl.trees import registered_sum, sum_stages


class DotProduct(wiring.Component):
    """One reader: a whole code for every operand in, their dot product out.

    `operands` come a cycle after their codes. Registers before and behind the multipliers, as DSP blocks have them.
    """

    def __init__(self, config: Config, step: int, operands: int, operand_bits: int, dot_bits: int) -> None:
        self.config, self.step, self.operand_bits = config, step, operand_bits
        super().__init__(
            {
                "enable": In(1),
                "operands": In(data.ArrayLayout(signed(operand_bits), operands)),
                "codes": In(data.ArrayLayout(config.code_bits, operands)),
                "dot": Out(signed(dot_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        products = []
        for n, (operand, code) in enumerate(zip(self.operands, self.codes, strict=True)):
            factor = delay(m, self.enable, number(self.config, self.step, code), 1, f"code_{n}")
            product = Signal(signed(len(operand) + len(factor) - 1), name=f"product_{n}")  # no operand is the least
            m.d.comb += product.eq(operand * factor)
            products.append(delay(m, self.enable, product, 1, f"product_{n}"))
        m.d.comb += self.dot.eq(registered_sum(m, self.enable, products, self.config.tree_fanin, "sum"))
        return m


class Products(wiring.Component):
    """The array: `load` holds operands, which meet the codes of every later cycle; all else moves with `enable`.

    dot[reader] is what passes over all digits of codes[reader] would add up to, exactly. One dot product of each reader
    per cycle; latency `stages(operands, fanin)` cycles of `enable`.
    """

    @staticmethod
    def stages(operands: int, fanin: int) -> int:
        """Registers: before and behind the multipliers, and those of the adder tree."""
        return 2 + sum_stages(operands, fanin)

    def __init__(
        self, config: Config, *, step: int, operands: int, readers: int, operand_bits: int, dot_bits: int
    ) -> None:
        self.config, self.readers = config, readers
        self.shape = (step, operands, operand_bits, dot_bits)
        super().__init__(
            {
                "load": In(1),
                "enable": In(1),
                "operands": In(data.ArrayLayout(signed(operand_bits), operands)),
                "codes": In(data.ArrayLayout(data.ArrayLayout(config.code_bits, operands), readers)),
                "dot": Out(data.ArrayLayout(signed(dot_bits), readers)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        held = delay(m, self.load, self.operands, 1, "held")
        operands = delay(m, self.enable, held, 1, "operands")
        step, count, bits, _ = self.shape
        for n in range(self.readers):
            reader = DotProduct(self.config, *self.shape)
            m.submodules[f"reader_{n}"] = Named(reader, f"dot_product_{count}x{bits}_{step}")
            m.d.comb += [
                reader.enable.eq(self.enable),
                reader.operands.eq(operands),
                reader.codes.eq(self.codes[n]),
                self.dot[n].eq(reader.dot),
            ]
        return m
