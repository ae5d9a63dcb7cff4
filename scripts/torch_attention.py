"""The golden attention in PyTorch, for whole videos on a GPU: a writing of its own, which shares only the geometry.

Digits, tiers and references of reused rows are golden's (with config.shape_keys but for ties of floating-point sums:
see scripts.torch_quantise). The attention itself differs in what is below a unit of a probability:

- Golden rounds each probability against the maximum of the keys met so far, and shifts what it accumulated when that
  rises; when it does depends on the order of the lane groups. Here all are rounded against the final maximum.
- 2**-x and 1/x are exact here, and table look-ups there.

A unit is 2**(1 - prob_bits) of the maximum, and the output of both is rounded to FP16: outputs agree to a relative L2
of 0.001 with 16 bits of probability, and 0.004 with 14.

A sampler takes the module's `attention`, which environment variables configure:

    SIMPICKER_PRESET           a preset, or a configuration file (default: the default preset)
    SIMPICKER_GRID             frames,height,width of the tokens (default: 16,16,16)
    SIMPICKER_TEXT_TOKENS      before those of the video (default: 0)
    SIMPICKER_RULE             simpicker, drop, int4 or int8 (default: simpicker)
    SIMPICKER_REUSE_DISTANCE   in place of the preset's
    SIMPICKER_TOP_SHARE        in place of the preset's
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from golden.config import Config, Tier
from golden.group import compact
from golden.presets import DEFAULT_PRESET, preset
from golden.tiles import Tiles, make_tiles
from scripts.torch_align import FLOATS, Tensor, power, rounded, torch
from scripts.torch_prepare import Prepared, prepare
from scripts.torch_speculate import Estimate, choose, match, speculate

RULES = ("simpicker", "drop", "int4", "int8")
ROUNDS = 4
"""Times that tiers are chosen at most: see golden.layer."""
SCORES = 1 << 23
"""Scores at a time, which bounds the memory: some ten float64 of each."""


class TorchAttention:
    """Attention of q, k and v [batch, heads, tokens, head_dim], text tokens first, then the video's by frame and row.

    The heads of an element of the batch are a layer and share its budget. The rules are `simpicker`, golden's; `drop`,
    float64 attention over the pieces that simpicker puts into LUT8 and FULL; `int4` and `int8`, all LUT4 or LUT8. Rows
    are reused under any rule, if config.reuse_distance says so. The output has the dtype and the device of q.
    """

    def __init__(
        self, config: Config, grid: tuple[int, int, int], text_tokens: int = 0, rule: str = "simpicker"
    ) -> None:
        if rule not in RULES:
            raise ValueError(f"rule = {rule!r}: must be one of {', '.join(RULES)}")
        if len(grid) != 3 or min(grid) < 1:
            raise ValueError(f"grid = {grid}: must be frames, height and width, at least 1 each")
        if text_tokens < 0:
            raise ValueError(f"text_tokens = {text_tokens}: must be at least 0")
        self.tokens = math.prod(grid) + text_tokens
        if self.tokens > config.max_tokens:
            raise ValueError(f"{self.tokens} tokens: must be at most config.max_tokens = {config.max_tokens}")
        self.config, self.grid, self.text_tokens, self.rule = config, grid, text_tokens, rule
        self.query_tiles = make_tiles(config, grid, text_tokens, config.query_rows)
        self.key_tiles = make_tiles(config, grid, text_tokens, config.tile)
        self.calls = 0
        self._shares = np.zeros(2)

    @property
    def top_share(self) -> float:
        """Share of the products of dense attention in LUT8 and FULL, on average over the calls."""
        return float(self._shares[0] / max(1, self.calls))

    @property
    def products_removed(self) -> float:
        """Share of the products of dense attention whose rows are reused, on average over the calls."""
        return float(self._shares[1] / max(1, self.calls))

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.ndim != 4 or q.shape[2] != self.tokens or not q.shape == k.shape == v.shape:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in (("q", q), ("k", k), ("v", v)))
            raise ValueError(
                f"{shapes}: must be alike, [batch, heads, tokens, head_dim] with the {self.tokens} tokens of grid"
                f" {self.grid} and text_tokens = {self.text_tokens}"
            )
        with torch.no_grad():
            layers = [self._layer(*each) for each in zip(q, k, v, strict=True)]
        self.calls += 1
        self._shares += np.mean([shares for _, shares in layers], axis=0)
        return torch.stack([output for output, _ in layers]).to(q.dtype)

    def plan(self, prepared: Prepared) -> tuple[Tensor, list[Tiles], list[Tensor]]:
        """References [heads, tokens], and per head the query tiles and their tiers [query_tiles, key_pieces]."""
        config, columns = self.config, self.key_tiles
        reference = match(config, prepared.given, self.grid, self.text_tokens)
        device = reference.device
        computed = (reference == torch.arange(self.tokens, device=device)).cpu().numpy()
        rows = [compact(config, self.query_tiles, each) for each in computed]
        if self.rule in ("int4", "int8"):
            tier = {"int4": Tier.LUT4, "int8": Tier.LUT8}[self.rule]
            shapes = [(len(each.frame), len(columns.piece_start) - 1) for each in rows]
            return reference, rows, [torch.full(shape, int(tier), dtype=torch.int8, device=device) for shape in shapes]
        estimates = [
            speculate(config, prepared, head, self._places(each, device), each, columns)
            for head, each in enumerate(rows)
        ]
        return reference, rows, self._choose(estimates, rows)

    def _choose(self, estimates: list[Estimate], rows: list[Tiles]) -> list[Tensor]:
        """Tiers [query_tiles, key_pieces] of the heads, of which lane groups lift no more than the budget allows."""
        config = self.config
        share, dense, tiers = config.top_share, sum(estimate.dense for estimate in estimates), []
        for _ in range(ROUNDS):
            budget = dataclasses.replace(config, top_share=share, full_share=min(share, config.full_share))
            tiers = choose(budget, estimates)
            top = 0
            for tiles, tier in zip(rows, tiers, strict=True):
                sizes = torch.as_tensor(np.diff(self.key_tiles.piece_start), device=tier.device)
                counts = torch.as_tensor(np.diff(tiles.start), device=tier.device)
                read = lifted(config, tier.repeat_interleave(sizes, dim=1)) >= int(Tier.LUT8)
                top += int((counts * read.sum(dim=1)).sum())
            if top / dense <= config.top_share:
                break
            share = max(0.0, share - (top / dense - config.top_share))
        return tiers

    def _layer(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """Output and statistics of q, k and v [heads, tokens, head_dim]."""
        prepared = prepare(self.config, q, k, v, self.query_tiles, self.key_tiles)
        reference, rows, tiers = self.plan(prepared)
        drop = self.rule == "drop"
        output = torch.zeros((*q.shape[:2], q.shape[2] if drop else self.config.head_dim), dtype=torch.float64)
        output = output.to(q.device)
        piece_sizes = torch.as_tensor(np.diff(self.key_tiles.piece_start), device=q.device)
        top = 0
        for head, (tiles, tier) in enumerate(zip(rows, tiers, strict=True)):
            # Tiers per key, and the chunks of query tiles that meet them.
            per_key = tier.repeat_interleave(piece_sizes, dim=1)
            counts = torch.as_tensor(np.diff(tiles.start), device=q.device)
            top += int((counts * (per_key >= int(Tier.LUT8)).sum(dim=1)).sum())
            places = self._places(tiles, q.device)
            if drop:
                attend = self._dropping(q[head], k[head], v[head])
            else:
                attend, per_key = self._mixed(prepared, head), lifted(self.config, per_key)
            for first, last in self._chunks(tiles):
                some = places[int(tiles.start[first]) : int(tiles.start[last])]
                output[head, some] = attend(some, per_key[first:last].repeat_interleave(counts[first:last], dim=0))
        finite = torch.isfinite(prepared.query).all(dim=2, keepdim=True)
        output = torch.where(finite, output, torch.nan)
        restored = torch.empty((*q.shape[:2], q.shape[2]), dtype=torch.float64, device=q.device)
        order = torch.as_tensor(self.query_tiles.order, device=q.device)
        restored[:, order] = output if drop else prepared.restore(output)
        computed = sum(len(tiles.order) for tiles in rows)
        shares = top / (len(q) * self.tokens**2), 1 - computed / (len(q) * self.tokens)
        return restored.gather(1, reference[..., None].expand_as(restored)), shares

    def _places(self, rows: Tiles, device: Any) -> Tensor:
        """[rows], the places in query_tiles of the tokens that `rows` orders."""
        place = np.empty(self.tokens, np.int64)
        place[self.query_tiles.order] = np.arange(self.tokens)
        return torch.as_tensor(place[rows.order], device=device)

    def _chunks(self, rows: Tiles) -> list[tuple[int, int]]:
        """First and last query tile, exclusive, of chunks that make about SCORES scores."""
        step = max(1, SCORES // (self.config.query_rows * self.tokens))
        return [(first, min(first + step, len(rows.frame))) for first in range(0, len(rows.frame), step)]

    def _mixed(self, prepared: Prepared, head: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Attention [rows, channels] of rows at `places` that meet the keys at tiers [rows, tokens]."""
        config = self.config
        lowest = [min(tier for tier in Tier if config.digits_read(tier) > n) for n in range(1, config.digits)]
        fraction = 1 << config.score_fraction_bits
        bound = 1 << (config.score_bits - 1)
        one = 1 << (config.prob_bits - 1)
        unit = FLOATS[config.float_format][1] + config.query_bits - 2

        def digits(all_digits: Tensor, step: int) -> list[Tensor]:
            return [d[head].double() * w for d, w in zip(all_digits, config.digit_weights(step), strict=True)]

        key_digits = digits(prepared.key_digits, config.key_digit_step)
        value_digits = digits(prepared.value_digits, config.value_digit_step)

        def attend(places: Tensor, tiers: Tensor) -> Tensor:
            masks = [tiers >= int(tier) for tier in lowest]
            query, scale = prepared.mantissa[head, places].double(), power(prepared.query_exponent[head, places] - unit)
            score = query @ key_digits[0].mT
            for mask, digit in zip(masks, key_digits[1:], strict=True):
                score += mask * (query @ digit.mT)
            score *= prepared.key_scale[head]
            score = torch.floor(score * (scale * fraction)[:, None] + 0.5).clamp_(-bound, bound - 1)
            maximum = torch.ceil(score.amax(dim=1, keepdim=True) / fraction)
            prob = torch.floor(torch.exp2(score / fraction - maximum) * one + 0.5).clamp_(max=config.prob_max)
            weight = torch.floor(prob * prepared.value_scale[head] + 0.5)
            output = weight @ value_digits[0]
            for mask, digit in zip(masks, value_digits[1:], strict=True):
                output += (weight * mask) @ digit
            normal = output / prob.sum(dim=1, keepdim=True) * power(prepared.output_exponent[head])
            return rounded(normal, "fp16")

        return attend

    def _dropping(self, q: Tensor, k: Tensor, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The same of a head's q, k and v in float64, over the keys at LUT8 and FULL alone; rows without any: zeros."""
        q = q[torch.as_tensor(self.query_tiles.order, device=q.device)].double() / math.sqrt(q.shape[1])
        order = torch.as_tensor(self.key_tiles.order, device=q.device)
        k, v = k[order].double(), v[order].double()

        def attend(places: Tensor, tiers: Tensor) -> Tensor:
            kept = tiers >= int(Tier.LUT8)
            prob = torch.softmax(torch.where(kept, q[places].nan_to_num(0, 0, 0) @ k.mT, -torch.inf), dim=1)
            return torch.where(kept.any(dim=1, keepdim=True), prob @ v, 0)

        return attend


def lifted(config: Config, tiers: Tensor) -> Tensor:
    """Tiers [query_tiles, tokens] as lane groups have them: a group takes the highest of its tokens.

    Of each config.tile tokens in order, lane i has the tokens i, i + lanes, ..., the highest tier first.
    """
    count, tokens = tiers.shape
    padded = torch.nn.functional.pad(tiers, (0, -tokens % config.tile), value=-1)
    column = padded.reshape(count, -1, config.tile // config.lanes, config.lanes)
    ranked, order = torch.sort(column, dim=2, descending=True, stable=True)
    group = ranked.amax(dim=3, keepdim=True).expand_as(ranked)
    return torch.empty_like(column).scatter_(2, order, group).reshape(count, -1)[:, :tokens]


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q, k and v [batch, heads, tokens, head_dim], as the environment configures it."""
    return configured()(q, k, v)


@functools.cache
def configured() -> TorchAttention:
    """What `attention` uses, made once."""
    return from_environment(os.environ)


def from_environment(variables: Mapping[str, str]) -> TorchAttention:
    """The attention that SIMPICKER_* configure; ValueError names a wrong one, its value and what is allowed."""

    def read(name: str, parse: Callable[[str], Any], default: Any, allowed: str) -> Any:
        text = variables.get(f"SIMPICKER_{name}", "")
        try:
            return parse(text) if text else default
        except ValueError:
            raise ValueError(f"SIMPICKER_{name} = {text!r}: must be {allowed}") from None

    def grid_of(text: str) -> tuple[int, ...]:
        sizes = tuple(int(part) for part in text.split(","))
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError
        return sizes

    def count_of(text: str) -> int:
        if int(text) < 0:
            raise ValueError
        return int(text)

    def rule_of(text: str) -> str:
        if text not in RULES:
            raise ValueError
        return text

    try:
        base = preset(variables.get("SIMPICKER_PRESET") or DEFAULT_PRESET)
    except ValueError as error:
        raise ValueError(f"SIMPICKER_PRESET: {error}") from None
    share = read("TOP_SHARE", float, base.top_share, "a number in 0..1")
    distance = read("REUSE_DISTANCE", float, base.reuse_distance, "a number in 0..2")
    grid = read("GRID", grid_of, (16, 16, 16), "frames,height,width, at least 1 each, such as 16,16,16")
    text_tokens = read("TEXT_TOKENS", count_of, 0, "a whole number, at least 0")
    rule = read("RULE", rule_of, RULES[0], f"one of {', '.join(RULES)}")
    try:
        full_share = min(base.full_share, share)
        config = dataclasses.replace(base, top_share=share, full_share=full_share, reuse_distance=distance)
    except ValueError as error:
        given = {name: variables.get(f"SIMPICKER_{name}") for name in ("TOP_SHARE", "REUSE_DISTANCE")}
        raise ValueError(f"{', '.join(f'SIMPICKER_{n} = {t!r}' for n, t in given.items() if t)}: {error}") from None
    return TorchAttention(config, grid, text_tokens, rule)
