"""The orders in which batches visit rows: permutations that are never stored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scikitplot.memmap._order import InOrder, Shuffled, ShuffledBlocks

FIRST_SHUFFLED = [431, 204, 178, 34, 711, 52, 214, 793]
FIRST_OF_BLOCKS = [440, 133, 970, 978, 971, 446, 445, 975]
LENGTHS = [0, 1, 2, 3, 7, 8, 9, 100, 255, 256, 257, 10_007]


@pytest.mark.parametrize("length", LENGTHS)
def test_every_row_stands_somewhere_once(length):
    for seed in range(5):
        assert np.array_equal(np.sort(Shuffled(length, seed).rows(0, length)), np.arange(length))


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 6), st.integers(0, 99), st.data())
def test_blocks_have_every_row_once_and_any_part_of_the_order_is_that_of_the_whole(length, block, group, seed, data):
    order = ShuffledBlocks(length, block, group, seed, 0)
    rows = order.rows(0, length)
    assert np.array_equal(np.sort(rows), np.arange(length))
    start = data.draw(st.integers(0, length))
    stop = data.draw(st.integers(start, length))
    assert np.array_equal(order.rows(start, stop), rows[start:stop])


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 6), st.integers(0, 99))
def test_a_group_has_the_rows_of_its_blocks_and_no_others(length, block, group, seed):
    order = ShuffledBlocks(length, block, group, seed, 0)
    for number in range(order.group_of(length - 1) + 1):
        start, stop = order.start_of(number), order.start_of(number + 1)
        assert {order.group_of(place) for place in range(start, stop)} == {number}
        assert set(order.rows(start, stop) // block) == set(order.blocks_of(number))


@given(st.integers(1, 1 << 62), st.integers(0, 1 << 64), st.data())
def test_a_row_stands_where_it_is_found_at_any_length(length, seed, data):
    order = Shuffled(length, seed)
    row = data.draw(st.integers(0, length - 1))
    assert 0 <= order.place(row) < length
    assert order.rows(order.place(row), order.place(row) + 1).tolist() == [row]


def test_orders_are_the_same_on_every_platform_and_in_every_version():
    assert Shuffled(1000, 1, 2).rows(0, 8).tolist() == FIRST_SHUFFLED
    assert ShuffledBlocks(1000, 10, 5, 1, 2).rows(0, 8).tolist() == FIRST_OF_BLOCKS


def test_seeds_and_epochs_give_orders_of_their_own():
    orders = {tuple(Shuffled(100, seed, epoch).rows(0, 100).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


@pytest.mark.parametrize("length", [10, 64, 100, 1000])
def test_rows_stand_anywhere_equally_often(length):
    trials = 20_000
    counts = np.zeros((2, length))
    for seed in range(trials):
        counts[0, Shuffled(length, seed).rows(0, 1)] += 1  # the row at the first place
        counts[1, Shuffled(length, seed).place(length - 1)] += 1  # the place of the last row
    chi_square = ((counts - trials / length) ** 2 / (trials / length)).sum(axis=1)
    # mean length - 1, standard deviation sqrt(2 * (length - 1)); the seeds are fixed, so that this is no matter of luck
    assert (abs(chi_square - (length - 1)) < 4 * np.sqrt(2 * (length - 1))).all()


def test_neighbours_are_not_related():
    rows = Shuffled(100_000, 7).rows(0, 100_000).astype(float)
    for distance in (1, 2, 3, 256, 1024):
        assert abs(np.corrcoef(rows[distance:], rows[:-distance])[0, 1]) < 4 / np.sqrt(len(rows))
    steps = np.diff(rows)
    assert abs((steps > 0).mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(rows))
    assert (abs(steps) == 1).sum() < 15  # two are expected


def test_what_is_not_shuffled_is_in_order():
    assert InOrder(10).rows(3, 6).tolist() == [3, 4, 5]
