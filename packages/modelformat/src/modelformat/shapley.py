"""How far each column moves a model's answer for a row away from the mean answer: Shapley values.

The worth of a set of columns is the mean answer when these columns have the row's values, and all others have those of
background rows (Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017). A column's contribution
is what it adds to this worth, on average over all orders in which columns can be added. With few columns, all sets are
tried, which is exact. With more, orders are drawn at random (Strumbelj and Kononenko, Explaining Prediction Models and
Individual Predictions with Feature Contributions, 2014), each together with its reverse, which cancels much of the
random error (Mitchell et al., Sampling Permutations for Shapley Value Estimation, 2022). In both cases, the
contributions of a row add up to its answer minus the mean answer for the background.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Rows = NDArray[Any]
Numbers = NDArray[np.float64]
# Returns answers of shape [rows, outputs] for rows of shape [rows, columns].
Model = Callable[[Rows], NDArray[Any]]

BATCH = 512
# More columns have too many sets to try them all.
_MOST_EXACT = 20


class Explained(Struct, frozen=True, eq=False):
    """One row explained: contributions, [columns, outputs], which with `base` add up to `value`, both [outputs].

    `error` is the largest standard error among the columns' contributions, for each output; zeros if they are exact.
    """

    base: Numbers
    value: Numbers
    contributions: Numbers
    error: Numbers


class Explainer:
    """Explains the answers of a model.

    Args:
        model: Returns answers for rows; an exception ends the explanation.
        background: Rows that replace the values of columns left out, shape [rows, columns].
        evaluations: The most rows to ask the model for each explained row. It may be exceeded, because one order of the
            columns and its reverse are always evaluated.
        batch: The most rows to ask at once.
        seed: The seed of the orders, which are the same for every row.

    Attributes:
        exact: Whether all sets of columns are tried.
        cost: The number of rows that the model is asked for each explained row.
    """

    def __init__(self, model: Model, background: Rows, evaluations: int, *, batch: int = BATCH, seed: int = 0) -> None:
        columns = background.shape[1]
        self._model = model
        self._batch = batch
        self._seed = seed
        self.exact = columns <= _MOST_EXACT and len(background) << columns <= max(evaluations, 2 * len(background))
        steps = max(columns - 1, 1)
        # A pair of orders for each row of the background, or for fewer rows if that is too much.
        most = len(background) if self.exact else max(1, min(len(background), evaluations // (2 * steps)))
        self._background = background[:most]
        self._rounds = 0 if self.exact else max(1, evaluations // (2 * steps * most))
        self.cost = most << columns if self.exact else 1 + 2 * steps * most * self._rounds
        self._answers: Numbers | None = None

    def explain(self, row: Rows) -> Explained:
        """Explain the answer for one row, shape [columns]."""
        background = self._background
        if self._answers is None:
            self._answers = self._ask(background)
        value = self._ask(row.reshape(1, -1))[0]
        base = self._answers.mean(axis=0)
        if self.exact:
            contributions, error = self._all_sets(row, base, value), np.zeros_like(value)
        else:
            contributions, error = self._orders(row, value)
        return Explained(base, value, contributions, error)

    def _all_sets(self, row: Rows, base: Numbers, value: Numbers) -> Numbers:
        columns = len(row)
        sets = np.arange(1 << columns)
        masks = (sets[:, None] >> np.arange(columns)) & 1 == 1
        worth = np.empty((len(sets), len(base)))
        worth[0], worth[-1] = base, value
        step = max(1, self._batch // len(self._background))
        for first in range(1, len(sets) - 1, step):
            chosen = masks[first : min(first + step, len(sets) - 1)]
            rows = np.where(chosen[:, None, :], row, self._background)
            answers = self._ask(rows.reshape(-1, columns)).reshape(len(chosen), len(self._background), -1)
            worth[first : first + len(chosen)] = answers.mean(axis=1)
        sizes = masks.sum(axis=1)
        weights = np.array([1 / (columns * math.comb(columns - 1, size)) for size in range(columns)])
        contributions = np.empty((columns, len(base)))
        for column in range(columns):
            without = sets[~masks[:, column]]
            gains = worth[without | 1 << column] - worth[without]
            contributions[column] = weights[sizes[without]] @ gains
        return contributions

    def _orders(self, row: Rows, value: Numbers) -> tuple[Numbers, Numbers]:
        columns, outputs = len(row), len(value)
        total, squares = np.zeros((columns, outputs)), np.zeros((columns, outputs))
        pairs = self._rounds * len(self._background)
        for walks in self._walks(columns):
            gains = self._gains(row, value, walks)
            # An order and its reverse count as one draw.
            both = gains.reshape(-1, 2, columns, outputs).mean(axis=1)
            total += both.sum(axis=0)
            squares += (both**2).sum(axis=0)
        mean = total / pairs
        variance = np.maximum(squares / pairs - mean**2, 0.0) / max(pairs - 1, 1)
        return mean, np.sqrt(variance).max(axis=0)

    def _walks(self, columns: int) -> "Iterator[list[tuple[NDArray[np.intp], int]]]":
        """Yield orders, each followed by its reverse, with the position of the background row that they start from."""
        random = np.random.default_rng(self._seed)
        most = max(2, self._batch // max(columns - 1, 1) // 2 * 2)
        walks: list[tuple[NDArray[np.intp], int]] = []
        for _ in range(self._rounds):
            for place in range(len(self._background)):
                order = random.permutation(columns)
                walks += [(order, place), (order[::-1], place)]
                if len(walks) >= most:
                    yield walks
                    walks = []
        if walks:
            yield walks

    def _gains(self, row: Rows, value: Numbers, walks: "list[tuple[NDArray[np.intp], int]]") -> Numbers:
        """Return what each column adds at its turn, shape [walks, columns, outputs]."""
        columns = len(row)
        orders = np.array([order for order, _ in walks])
        places = np.array([place for _, place in walks])
        # The turn of each column in each walk.
        turns = np.argsort(orders, axis=1)
        assert self._answers is not None  # noqa: S101  (`explain` sets it)
        steps = np.empty((len(walks), columns + 1, len(value)))
        steps[:, 0], steps[:, -1] = self._answers[places], value
        between = [self._ask(rows) for rows in self._between(row, turns, places)]
        steps[:, 1:-1] = np.concatenate(between).reshape(len(walks), columns - 1, -1)
        gains: Numbers = np.take_along_axis(np.diff(steps, axis=1), turns[:, :, None], axis=1)
        return gains

    def _between(self, row: Rows, turns: NDArray[np.intp], places: NDArray[np.intp]) -> Iterator[Rows]:
        """Yield the intermediate rows of the walks in batches: their total grows with the square of the columns."""
        inner = turns.shape[1] - 1
        for first in range(0, len(turns) * inner, self._batch):
            walk, step = np.divmod(np.arange(first, min(first + self._batch, len(turns) * inner)), inner)
            yield np.where(turns[walk] <= step[:, None], row, self._background[places[walk]])

    def _ask(self, rows: Rows) -> Numbers:
        parts = [self._model(rows[first : first + self._batch]) for first in range(0, len(rows), self._batch)]
        answers: Numbers = np.concatenate(parts).astype(np.float64).reshape(len(rows), -1)
        return answers
