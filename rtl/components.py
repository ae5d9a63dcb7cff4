"""Every component that is generated, simulated and synthesized on its own, by the name of its module."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.lib.wiring import Component

from golden.config import Config
from golden.control import EVENTS, LOOPS
from golden.formats import FORMATS
from rtl.accumulate import Accumulate
from rtl.align import Align
from rtl.arbiter import BankArbiter
from rtl.centre import Centre
from rtl.compact import Compact
from rtl.core import Core
from rtl.encode import Encode
from rtl.estimate import Estimate
from rtl.group import Group
from rtl.loops import Loops
from rtl.match import Match
from rtl.multiplier import KeyMultiplier, ValueMultiplier
from rtl.normalise import Normalise
from rtl.places import Places
from rtl.pool import Pool, key_form, query_form
from rtl.prepare import Prepare
from rtl.prepare_query import PrepareQuery
from rtl.quantise import Quantise
from rtl.query_buffer import QueryBuffer
from rtl.restore import Restore
from rtl.reuse import Reuse
from rtl.rotate import Rotate
from rtl.score import Score
from rtl.sequencer import Sequencer
from rtl.simpicker import Simpicker
from rtl.softmax import Softmax
from rtl.speculate import Speculate
from rtl.statistics import Statistics
from rtl.tier_buffer import TierBuffer
from rtl.token_buffer import KeyBuffer, ValueBuffer
from rtl.work_queue import WorkQueue
from rtl.worker import Worker

COMPONENTS: dict[str, Callable[[Config], Component]] = {
    "match": Match,
    "reuse": Reuse,
    "compact": Compact,
    "statistics": Statistics,
    "rotate": lambda config: Rotate(config, config.centred_bits, 1),
    "centre": Centre,
    "quantise": Quantise,
    "encode": lambda config: Encode(config, FORMATS[config.float_format], config.input_bits + config.rotation_stages),
    "prepare_query": PrepareQuery,
    "align": Align,
    "pool": lambda config: Pool(config, *query_form(config)),
    "key_pool": lambda config: Pool(config, *key_form(config)),
    "estimate": Estimate,
    "query_buffer": QueryBuffer,
    "arbiter": BankArbiter,
    "key_buffer": KeyBuffer,
    "value_buffer": ValueBuffer,
    "group": Group,
    "loops": lambda config: Loops(config, LOOPS, EVENTS),
    "sequencer": Sequencer,
    "key_multiplier": KeyMultiplier,
    "score": Score,
    "softmax": Softmax,
    "value_multiplier": ValueMultiplier,
    "accumulate": Accumulate,
    "normalise": Normalise,
    "restore": Restore,
    "core": Core,
    "places": lambda config: Places(config, config.tile),
    "prepare": Prepare,
    "speculate": Speculate,
    "tier_buffer": TierBuffer,
    "work_queue": WorkQueue,
    "worker": Worker,
    "simpicker": Simpicker,
}
