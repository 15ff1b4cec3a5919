"""The answers of a graph that follows the contract, computed as serving does."""

from collections.abc import Sequence

import numpy as np

from modelformat.mlmodel import Label, Labels
from modelformat.session import DTYPES, LABEL, MATRIX, PREDICTION, PROBABILITIES, as_columns, open_session
from training.registering.estimators import Answers


class GraphScores:
    """A graph, loaded as in serving."""

    def __init__(self, graph: bytes, classes: Sequence[Label], labels: Labels) -> None:
        self._session = open_session(graph)
        self._classes = classes
        self._labels = labels
        inputs = {given.name: given.type for given in self._session.get_inputs()}
        self._matrix = DTYPES[inputs[MATRIX]] if MATRIX in inputs else None
        self._dtypes = () if MATRIX in inputs else tuple(DTYPES[inputs[f"column_{i}"]] for i in range(len(inputs)))

    def answers(self, rows: np.ndarray) -> Answers:
        """Return its answers to rows in the form of the contract."""
        given = {MATRIX: rows.astype(self._matrix)} if self._matrix is not None else as_columns(rows, self._dtypes)
        if not self._classes:
            values = np.asarray(self._session.run([PREDICTION], given)[0], dtype=np.float64).reshape(-1)
            return Answers(None, values, None)
        if self._labels == "only":
            return Answers(np.asarray(self._session.run([LABEL], given)[0]).reshape(-1), None, None)
        wanted = [PROBABILITIES] if self._labels == "largest" else [PROBABILITIES, LABEL]
        found = self._session.run(wanted, given)
        probabilities = np.asarray(found[0], dtype=np.float64)
        codes = probabilities.argmax(axis=1) if self._labels == "largest" else np.asarray(found[1]).reshape(-1)
        codes = np.where(np.isfinite(probabilities).all(axis=1), codes, -1)
        return Answers(codes, None, probabilities)
