from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config
from golden.estimate import Ranked, estimate, score, unseen
from golden.pool import Pooled, pool
from golden.tables import log2_table, mass_table
from tests.golden import by_hand
from tests.golden.by_hand import Sum

LEVELS = {"low": -40, "far apart": -18, "middle": -24, "high": 0, "highest": 40}
"""Powers of two of the scale: scores that vanish, of a usual size, and that saturate."""


def random_pool(config: Config, parts: int, seed: int, content: str = "any") -> Pooled:
    rng = np.random.default_rng(seed)
    half = 1 << (config.pool_bits - 1)
    mantissa = rng.integers(-half, half, (parts, config.head_dim))
    if content == "zero":
        mantissa[:] = 0
    elif content == "largest":
        mantissa[:] = half - 1
    elif content == "least":
        mantissa[:] = -half
    return Pooled(mantissa, rng.integers(-3, 4, parts), rng.integers(1, 65, parts))


def sums(found: Pooled) -> list[Sum]:
    lists = (found.mantissa.tolist(), found.exponent.tolist(), found.size.tolist())
    return [Sum(*each) for each in zip(*lists, strict=True)]


Case = tuple[Config, Pooled, Pooled, tuple[int, int], list[int], np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A configuration, pooled queries and keys, a scale, parts of the keys, and who looks at whom."""
    config = Config(
        head_dim=16, pool_bits=draw(st.integers(6, 14)), estimate_fraction_bits=draw(st.integers(3, 8)), max_tokens=2048
    )
    seed, content = draw(st.integers(0, 99)), draw(st.sampled_from(["any", "any", "zero", "largest", "least"]))
    query = random_pool(config, draw(st.integers(1, 4)), seed, content)
    key = random_pool(config, draw(st.integers(1, 30)), seed + 1)
    scale = draw(st.integers(1 << 15, (1 << 16) - 1)), draw(st.sampled_from(list(LEVELS.values())))
    rng = np.random.default_rng(seed)
    starts = rng.random(len(key.size)) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    starts[0] = True
    inside = rng.random((len(query.size), len(key.size))) < draw(st.sampled_from([0.0, 0.4, 1.0]))
    return config, query, key, scale, (np.cumsum(starts) - 1).tolist(), inside


def estimated(case: Case) -> Ranked:
    config, query, key, scale, part_of, inside = case
    return estimate(config, query, key, scale, np.unique(part_of, return_index=True)[1], inside)


@given(cases())
def test_scores_and_ranks_follow_their_definitions(case: Case) -> None:
    config, query, key, scale, part_of, inside = case
    got = estimated(case)
    keys = sums(key)
    assert got.score.tolist() == [[by_hand.score(config, q, k, scale) for k in keys] for q in sums(query)]
    for n, q in enumerate(sums(query)):
        assert got.rank[n].tolist() == by_hand.ranks(config, q, keys, scale, part_of, inside[n].tolist())
        looked = np.flatnonzero(inside[n])
        scores = got.score[n, looked].tolist()
        assert got.log_mass[n] == by_hand.log_mass(config, scores, key.size[looked].tolist())


@given(cases())
def test_widths_hold(case: Case) -> None:
    config, _, key, _, part_of, inside = case
    got = estimated(case)
    bound = 1 << (config.estimate_bits - 1)
    assert -bound <= got.score.min() <= got.score.max() < bound
    assert unseen(config) == -(1 << (config.rank_bits - 1)) <= got.rank.min()
    # A probability is at most one, and its logarithm may be off by its table's steps.
    assert got.rank.max() <= 2
    assert len(got.rank[0]) == max(part_of) + 1
    for n, row in enumerate(inside):
        for part in set(part_of):
            if not any(on for on, p in zip(row, part_of, strict=True) if p == part):
                assert got.rank[n, part] == unseen(config)
    assert int(key.size.sum()) << config.mass_bits < 1 << config.mass_total_bits


@pytest.mark.parametrize("pool_bits", [6, 14])
def test_the_largest_products_do_not_overflow(pool_bits: int) -> None:
    config = Config(head_dim=256, pool_bits=pool_bits)
    half = 1 << (pool_bits - 1)
    one = np.array([1])
    least, most = (Pooled(np.full((1, 256), x), one, one) for x in (-half, half - 1))
    for query, key in ((least, least), (least, most), (most, most)):
        for exponent in range(-70, 10, 4):
            scale = (1 << 16) - 1, exponent
            wanted = by_hand.score(config, sums(query)[0], sums(key)[0], scale)
            assert score(config, query, key, scale).tolist() == [[wanted]]


def whole_scores(config: Config, scores: list[int], sizes: list[int]) -> Ranked:
    """Estimates of one query, whose keys have those whole scores, each a part of its own."""
    mantissa = np.zeros((len(scores), 16), np.int64)
    mantissa[:, 0] = scores
    size = np.array(sizes)
    query = Pooled(np.eye(1, 16, dtype=np.int64), np.zeros(1, np.int64), np.ones(1, np.int64))
    key = Pooled(mantissa * size[:, None], np.zeros(len(scores), np.int64), size)
    return estimate(config, query, key, (1 << 15, 0), np.arange(len(scores)))


def test_probabilities_by_hand() -> None:
    config = Config(head_dim=16, pool_bits=14, estimate_fraction_bits=4)
    # 2**5 once, 2**4 twice and 2**3 eight times: 128 in all, so that the shares are 2**-2, 2**-3 and 2**-4 each key.
    got = whole_scores(config, [5, 4, 3], [1, 2, 8])
    assert got.score.tolist() == [[80, 64, 48]]
    # The logarithm's table has the middle of its steps: log2(1 + 1 / 32) * 16 rounds to 1.
    assert got.log_mass.tolist() == [7 * 16 + 1]
    assert got.rank.tolist() == [[-33, -49, -65]]


def test_the_lowest_rank_saturates_where_many_keys_have_the_highest_score() -> None:
    config = Config(head_dim=16, pool_bits=14)
    got = whole_scores(config, [127] * 30 + [-128], [64] * 30 + [1])
    assert got.log_mass[0] > 127 << config.estimate_fraction_bits
    assert got.rank[0, -1] == unseen(config)
    assert (got.rank[0, :-1] > -12 << config.estimate_fraction_bits).all()


def test_nothing_that_is_looked_at_gives_the_least_rank_everywhere() -> None:
    config = Config(head_dim=16)
    pools = random_pool(config, 3, 0), random_pool(config, 5, 1)
    got = estimate(config, *pools, (1 << 15, -20), np.array([0, 2]), np.zeros((3, 5), bool))
    assert (got.rank == unseen(config)).all()


def test_keys_that_are_not_looked_at_have_no_influence() -> None:
    config = Config(head_dim=16)
    query, key = random_pool(config, 3, 0), random_pool(config, 8, 1)
    inside = np.tile(np.arange(8) % 2 == 0, (3, 1))
    got = estimate(config, query, key, (1 << 15, -14), np.arange(8), inside)
    alone = Pooled(key.mantissa[::2], key.exponent[::2], key.size[::2])
    wanted = estimate(config, query, alone, (1 << 15, -14), np.arange(4))
    assert (got.rank[:, ::2] == wanted.rank).all()
    assert (got.log_mass == wanted.log_mass).all()


@pytest.mark.parametrize("bits", [3, 6, 8])
@pytest.mark.parametrize("exponent", [-20, -16, -14])
def test_estimates_are_close_to_the_exact_softmax_of_means(exponent: int, bits: int) -> None:
    config = Config(head_dim=16, estimate_fraction_bits=bits, max_tokens=2048)
    steps = 1 << bits
    for seed in range(20):
        query, key = random_pool(config, 3, seed), random_pool(config, 20, seed + 50)
        got = estimate(config, query, key, (40000, exponent), np.arange(20))
        means = [np.ldexp(p.mantissa.astype(float), p.exponent[:, None]) / p.size[:, None] for p in (query, key)]
        exact = means[0] @ means[1].T * 40000 / (1 << 15) * 2.0**exponent
        # Two reciprocals, of 128 to 256, err by up to 2**-8 each; then half a step. Saturated ones are left out.
        usual = np.abs(exact) < 126
        assert (np.abs(got.score / steps - exact) <= np.abs(exact) / 127 + 0.5 / steps)[usual].all()
        # With the scores found: their logarithm is off by a step of its table and its rounding, and by what is lost
        # below the last bit: less than three units for each of 20 keys, of at least 2**11.
        scores = got.score / steps
        mass = np.log2((np.exp2(scores - scores.max(axis=1, keepdims=True)) * key.size).sum(axis=1))
        mass += scores.max(axis=1)
        assert (np.abs(got.log_mass / steps - mass) <= 1.25 / steps + np.log2(1 + 60 / (1 << 11))).all()
        wanted = np.maximum(scores - got.log_mass[:, None] / steps, unseen(config) / steps)
        assert (got.rank / steps == wanted).all()


@pytest.mark.parametrize("bits", range(3, 9))
def test_tables_by_hand(bits: int) -> None:
    config = Config(estimate_fraction_bits=bits)
    steps = 1 << bits
    powers = [round(4096 * 2 ** (-n / steps)) for n in range(steps)]
    assert mass_table(config).tolist() == powers
    assert 1 << (config.mass_bits - 1) < powers[-1] < powers[0] == 1 << config.mass_bits
    found = np.exp2(log2_table(config) / steps)
    assert len(found) == steps
    # Each is the nearest to the middle of its step, whose halves are at most 0.73 of a step of the logarithm wide.
    assert (np.abs(np.log2(found) - np.log2(1 + (np.arange(steps) + 0.5) / steps)) <= 0.5 / steps + 1e-12).all()


def test_pooling_and_estimating_one_row_each_is_the_product() -> None:
    config = Config(head_dim=16, pool_bits=14)
    rng = np.random.default_rng(0)
    query, key = rng.integers(-99, 100, (2, 5, 16))
    none, each = np.zeros(5, np.int64), np.arange(6)
    got = score(config, pool(config, query, none, each), pool(config, key, none, each), (1 << 15, -10))
    # Nothing is lost before the last rounding.
    assert (got == np.clip((query @ key.T + 8) >> 4, -(1 << 13), (1 << 13) - 1)).all()
