"""Curvature: the direction of L-BFGS, worked out from inner products alone. Arithmetic only.

Nocedal and Wright 2006, algorithm 7.4 (the two-loop recursion), with the pairs of the last moves,

    s_k = x_{k+1} - x_k,   y_k = g_{k+1} - g_k,   d = -H g,   H_0 = (s y / y y) I   (eq. 7.20)

Every vector of the recursion is a combination of -g, the s and the y, so that it runs on their coefficients, in
float64, and whoever owns the vectors reads them once for the products and once for the sum (Chen, Wang and Zhou 2014,
"Large-scale L-BFGS using MapReduce"). Vectors are rows: row j is the move of slot j, row j + `capacity` the change.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]

#: A pair is kept when the cosine between the move and the gradient's change is above this.
_LEAST_COSINE = 1e-10


class Curvature:
    """Which slots hold pairs, and the inner products of their rows.

    A pair is begun when its move is made, in a free slot or that of the oldest, and known when its change is there.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._products = np.zeros((2 * capacity, 2 * capacity))
        self._known: list[int] = []

    @property
    def is_known(self) -> bool:
        """Whether there is a pair; without one there is no direction."""
        return bool(self._known)

    def rows(self, slot: int) -> tuple[int, int]:
        """The rows of a slot: its move's and its change's."""
        return slot, slot + self.capacity

    def begin_pair(self) -> int:
        """A slot for the next move and its change."""
        if len(self._known) == self.capacity:
            self._known.pop(0)
        return next(slot for slot in range(self.capacity) if slot not in self._known)

    def end_pair(self, slot: int, products: Numbers) -> None:
        """Learn a pair by the products of every row with its move and its change, [rows, 2]; not one without curvature.

        Products with rows of slots that hold no pair get no weight.
        """
        move, change = self.rows(slot)
        curvature, squares = products[change, 0], products[move, 0] * products[change, 1]
        if curvature <= _LEAST_COSINE * np.sqrt(squares):
            return
        self._products[:, [move, change]] = products
        self._products[[move, change], :] = products.T
        self._known.append(slot)

    def forget(self) -> None:
        """Drop all pairs."""
        self._known.clear()

    def combine(self, slopes: Numbers) -> tuple[float, Numbers]:
        """The direction d as a share of -g and weights of the rows; `slopes` are the products of the rows with -g."""
        weights = np.zeros(2 * self.capacity)
        alphas: dict[int, float] = {}
        for slot in reversed(self._known):
            move, change = self.rows(slot)
            alphas[slot] = (slopes[move] + self._products[move] @ weights) / self._products[move, change]
            weights[change] -= alphas[slot]
        move, change = self.rows(self._known[-1])
        share = self._products[move, change] / self._products[change, change]
        weights *= share
        for slot in self._known:
            move, change = self.rows(slot)
            beta = (share * slopes[change] + self._products[change] @ weights) / self._products[move, change]
            weights[move] += alphas[slot] - beta
        return float(share), weights
