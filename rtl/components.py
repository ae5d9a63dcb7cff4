"""Every component that is generated, simulated and synthesized on its own, by the name of its module."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.lib.wiring import Component

from golden.config import Config
from rtl.accumulate import Accumulate
from rtl.align import Align
from rtl.arbiter import BankArbiter
from rtl.core import Core
from rtl.multiplier import KeyMultiplier, ValueMultiplier
from rtl.normalise import Normalise
from rtl.query_buffer import QueryBuffer
from rtl.score import Score
from rtl.sequencer import Sequencer
from rtl.softmax import Softmax
from rtl.token_buffer import KeyBuffer, ValueBuffer

COMPONENTS: dict[str, Callable[[Config], Component]] = {
    "align": Align,
    "query_buffer": QueryBuffer,
    "arbiter": BankArbiter,
    "key_buffer": KeyBuffer,
    "value_buffer": ValueBuffer,
    "sequencer": Sequencer,
    "key_multiplier": KeyMultiplier,
    "score": Score,
    "softmax": Softmax,
    "value_multiplier": ValueMultiplier,
    "accumulate": Accumulate,
    "normalise": Normalise,
    "core": Core,
}
