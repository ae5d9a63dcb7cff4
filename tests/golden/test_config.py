from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from golden.config import Config, Tier, signed_bits, unsigned_bits
from golden.presets import DEFAULT_PRESET, PRESETS, preset


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("head_dim", 63),
        ("head_dim", 0),
        ("head_dim", 272),
        ("head_dim", "64"),
        ("head_dim", True),
        ("query_rows", 8),
        ("tile", 1),
        ("lanes", 12),
        ("lanes", 1),
        ("banks", 0),
        ("tile_slots", 1),
        ("request_depth", 0),
        ("float_format", "fp8"),
        ("digits", 4),
        ("query_bits", 7),
        ("prob_bits", 19),
        ("scale_bits", 1),
        ("score_integer_bits", 5),
        ("score_fraction_bits", 13),
        ("max_tokens", 63),
        ("table", "odds"),
        ("tree_fanin", 1),
        ("adder", "ripple"),
        ("full_engine", "dsp"),
        ("request_window", 3),
        ("rotate", 1),
        ("key_digit_step", 1),
        ("value_digit_step", 5),
        ("shape_keys", 1),
        ("piece", 1),
        ("piece", 65),
        ("piece", 24),
        ("cell", 0),
        ("cell", 17),
        ("cell", 3),
        ("input_bits", 11),
        ("input_bits", 21),
        ("pool_bits", 5),
        ("pool_bits", 15),
        ("estimate_fraction_bits", 2),
        ("estimate_fraction_bits", 9),
        ("match_bits", 5),
        ("match_bits", 17),
        ("max_frames", 0),
        ("max_frames", (1 << 14) + 1),
        ("frame_mass", -0.1),
        ("frame_mass", 1.01),
        ("top_share", -0.1),
        ("top_share", 1.5),
        ("full_share", 0.13),
        ("full_share", float("nan")),
        ("reuse_distance", -0.1),
        ("reuse_distance", 2.5),
        ("group_window", 0),
        ("group_window", 65),
        ("cores", 0),
        ("cores", 65),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_what_is_allowed(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^config\.{field} = .*: must be ") as error:
        Config(**{field: value})
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_field_is_checked() -> None:
    for field in dataclasses.fields(Config):
        with pytest.raises(ValueError, match=rf"config\.{field.name} = None: must be of type"):
            Config(**{field.name: None})  # type: ignore[arg-type]


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().head_dim = 128  # type: ignore[misc]


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_keeps_configuration_and_hash(name: str) -> None:
    config = PRESETS[name]
    again = Config.from_json(config.to_json())
    assert again == config
    assert again.hash == config.hash
    assert len(config.hash) == 8
    int(config.hash, 16)


def test_hashes_tell_configurations_apart() -> None:
    hashes = {config.hash for config in PRESETS.values()} | {Config(top_share=0.3).hash, Config(max_tokens=65536).hash}
    assert len(hashes) == len(set(PRESETS.values())) + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "list"),
        (json.dumps(dataclasses.asdict(Config()) | {"colour": 1}), r"unknown fields \['colour'\], missing fields \[\]"),
        (json.dumps({"tile": 64}), "missing fields .*'head_dim'"),
        (json.dumps(dataclasses.asdict(Config()) | {"head_dim": 63}), r"config.head_dim = 63"),
        ("{", None),
    ],
)
def test_bad_json_is_a_value_error(text: str, message: str | None) -> None:
    with pytest.raises(ValueError, match=message):
        Config.from_json(text)


@pytest.mark.parametrize("bound", [0, 1, 7, 8, 255, 256, (1 << 40) - 1, 1 << 40])
def test_widths_hold_their_bound_and_no_more(bound: int) -> None:
    assert bound < 1 << unsigned_bits(bound)
    assert -(1 << (signed_bits(bound) - 1)) <= -bound <= bound < 1 << (signed_bits(bound) - 1)
    if bound > 1:
        assert bound >= 1 << (unsigned_bits(bound) - 1)
        assert bound >= 1 << (signed_bits(bound) - 2)


@pytest.mark.parametrize("name", PRESETS)
def test_derived_sizes_are_consistent(name: str) -> None:
    config = PRESETS[name]
    assert config.head_dim % config.output_lanes == 0
    assert config.output_lanes * config.tile >= config.head_dim * config.lanes
    assert [config.passes(tier) for tier in Tier] == [1, 2, config.digits]
    for step in (config.key_digit_step, config.value_digit_step):
        assert config.code_max(step) < 1 << (config.code_bits - 1)


@pytest.mark.parametrize("digits", [2, 3])
def test_multipliers_compute_full_in_one_pass_of_all_digits(digits: int) -> None:
    tables = Config(digits=digits)
    config = dataclasses.replace(tables, full_engine="multipliers")
    assert [config.passes(tier) for tier in Tier] == [1, 2, 1]
    assert [config.digits_read(tier) for tier in Tier] == [tables.passes(tier) for tier in Tier] == [1, 2, digits]
    assert (tables.word_digits, config.word_digits) == (1, digits)
    # What one pass gives is as large as the sum over the digits' passes; by tables, as the sum over single digits.
    assert config.key_dot_bits == config.key_sum_bits == tables.key_sum_bits
    values = 8 * sum(config.digit_weights(config.value_digit_step)) * config.prob_max * config.lanes
    assert config.value_dot_bits == signed_bits(values)
    assert tables.key_dot_bits == signed_bits(8 * tables.query_max * tables.head_dim)
    assert tables.value_dot_bits == signed_bits(8 * tables.prob_max * tables.lanes)


@pytest.mark.parametrize(
    ("digits", "step", "weights", "most"),
    # Seven of the first digit, and what rounds to it: half its weight, or less if the digits after it do not reach.
    [(2, 4, (16, 1), 119), (2, 3, (8, 1), 60), (3, 4, (256, 16, 1), 1911), (3, 3, (64, 8, 1), 480), (2, 2, (4, 1), 30)],
)
def test_weights_of_digits_and_the_largest_code(digits: int, step: int, weights: tuple[int, ...], most: int) -> None:
    config = Config(digits=digits)
    assert config.digit_weights(step) == weights
    assert config.code_max(step) == most


@pytest.mark.parametrize("name", PRESETS)
def test_sums_of_the_largest_operands_fit_their_widths(name: str) -> None:
    config = PRESETS[name]
    keys, values = (8 * sum(config.digit_weights(step)) for step in (config.key_digit_step, config.value_digit_step))
    assert config.query_max * keys * config.head_dim < 1 << (config.key_sum_bits - 1)
    assert config.prob_max * values * config.max_tokens < 1 << (config.output_sum_bits - 1)
    assert config.query_max * keys * config.head_dim >= 1 << (config.key_sum_bits - 2)
    assert config.prob_max * values * config.max_tokens >= 1 << (config.output_sum_bits - 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": 48, "lanes": 16, "piece": 32}, "piece = 32: must be a divisor of tile = 48"),
        ({"piece": 12, "tile": 48, "cell": 8}, "cell = 8: must be a divisor of piece = 12"),
        ({"query_rows": 36, "cell": 8}, "cell = 8: must be a divisor of query_rows = 36"),
    ],
)
def test_cells_divide_pieces_and_query_tiles_and_pieces_tiles(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^config.{message}$"):
        Config(**change)  # type: ignore[arg-type]


def test_widths_of_preparation_and_speculation_by_hand() -> None:
    config = Config(head_dim=64, input_bits=16, max_tokens=1024, estimate_fraction_bits=6)
    assert config.input_max == 32767
    assert config.total_bits == 1 + 25  # 1024 * 32767 < 2**25
    assert config.reach_bits == 22  # 64 * 65535 < 2**22
    assert config.centred_bits == 1 + 16
    assert (config.rotation_stages, config.rotation_shift) == (6, 3)
    assert config.rotated_bits == 1 + 19  # 65534 * 64 / 8 + 1 < 2**19
    assert config.estimate_bits == 14
    assert config.rank_bits == 15
    assert config.mass_total_bits == 1 + 10 + 12
    plain = dataclasses.replace(config, rotate=False)
    assert (plain.rotation_stages, plain.rotation_shift, plain.rotated_bits) == (0, 0, 1 + 16)
    # The largest power of two that divides the channels is mixed.
    found = {n: dataclasses.replace(config, head_dim=n).rotation_stages for n in (16, 48, 80, 96, 128, 256)}
    assert found == {16: 4, 48: 4, 80: 4, 96: 5, 128: 7, 256: 8}


def test_presets_by_name() -> None:
    assert preset(DEFAULT_PRESET) is PRESETS[DEFAULT_PRESET]
    with pytest.raises(ValueError, match="preset 'huge': must be one of tiny, ecp5, amd, asic, paper"):
        preset("huge")
