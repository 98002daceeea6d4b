"""The weights of a masked autoencoder whose units are sorted by degree, and products that skip what is masked.

Every row of such a matrix reads a prefix of its columns, which never gets shorter from row to row: a *staircase*.
Columns are units below, after a column for the bias (and the context).

Everything here takes one matrix [r, c] or several of the same shape, [S, r, c], which are multiplied at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

BLOCK = 125
"""Fewest rows and columns of a block in training: smaller ones skip more of the mask, but products lose efficiency."""


class Staircase:
    """The shape of a matrix whose row r may only read its first `reach[r]` columns; reach never falls from row to row.

    Attributes:
        reach: columns a row reads, one a row.
        columns: columns of the matrix.
        lead: how many of them are read by every row and stand for no unit below (the bias and the context).
    """

    def __init__(self, reach: Sequence[int], columns: int, lead: int) -> None:
        self.reach = tuple(reach)
        self.rows = len(reach)
        self.columns = columns
        self.lead = lead
        count = max(1, min(self.rows, columns) // BLOCK)
        row_edges = [self.rows * k // count for k in range(count + 1)]
        column_edges = [lead + (columns - lead) * k // count for k in range(count + 1)]
        self._row_blocks = [(first, last, reach[last - 1]) for first, last in pairwise(row_edges)]
        self._column_blocks = [(first, last, bisect_right(reach, first)) for first, last in pairwise(column_edges)]

    def mask(self) -> Tensor:
        """1 where a weight may differ from 0, [rows, columns]."""
        return (torch.arange(self.columns) < torch.tensor(self.reach)[:, None]).float()

    def product(self, weight: Tensor, units: Tensor, out: Tensor) -> None:
        """out = weight @ units, [rows, n], for a weight that is 0 outside the staircase."""
        if len(self._row_blocks) == 1:
            multiply(weight, units, out)
            return
        for first, last, reach in self._row_blocks:
            multiply(weight[..., first:last, :reach], units[..., :reach, :], out[..., first:last, :])

    def weight_gradient(self, gradient: Tensor, units: Tensor, out: Tensor) -> None:
        """out = gradient @ units.T, [rows, columns], in all of the staircase and some places outside."""
        if len(self._row_blocks) == 1:
            multiply(gradient, units.mT, out)
            return
        for first, last, reach in self._row_blocks:
            multiply(gradient[..., first:last, :], units[..., :reach, :].mT, out[..., first:last, :reach])

    def unit_gradient(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """(weight.T @ gradient)[lead:], [columns - lead, n]."""
        if len(self._column_blocks) == 1:
            return weight[..., self.lead :].mT @ gradient
        out = gradient.new_empty(*gradient.shape[:-2], self.columns - self.lead, gradient.shape[-1])
        for first, last, row in self._column_blocks:
            below = out[..., first - self.lead : last - self.lead, :]
            multiply(weight[..., row:, first:last].mT, gradient[..., row:, :], below)
        return out


def multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a @ b, of matrices or of stacks of them; `torch.matmul` would copy parts of larger tensors."""
    (torch.mm if a.dim() == 2 else torch.bmm)(a, b, out=out)


class Layout:
    """How the weights of one MADE lie in a vector.

    Attributes:
        features: D.
        context: C.
        degrees: of the units of each hidden layer, ascending from 0 to D - 1.
        staircases: of the matrices into the hidden layers and into the outputs mu_0, u_0, mu_1, u_1, ...
        size: weights in all.
    """

    def __init__(self, features: int, context: int, hidden: Sequence[int]) -> None:
        self.features = features
        self.context = context
        self.degrees = [[unit * features // units for unit in range(units)] for units in hidden]
        lead = 1 + context
        self.staircases = [Staircase([lead + degree for degree in self.degrees[0]], lead + features, lead)]
        outputs = [dimension for dimension in range(features) for _ in range(2)]
        for below, degrees in zip(self.degrees, [*self.degrees[1:], outputs], strict=True):
            reach = [1 + bisect_right(below, degree) for degree in degrees]
            self.staircases.append(Staircase(reach, 1 + len(below), 1))
        self._sizes = [staircase.rows * staircase.columns for staircase in self.staircases]
        self.size = sum(self._sizes)

    def matrices(self, vector: Tensor) -> list[Tensor]:
        """Views of the matrices [..., rows, columns] in vectors [..., size]."""
        stacked, parts = vector.shape[:-1], vector.split(self._sizes, -1)
        return [part.view(*stacked, s.rows, s.columns) for part, s in zip(parts, self.staircases, strict=True)]

    def mask(self) -> Tensor:
        """1 where a weight may differ from 0, [size]."""
        return torch.cat([staircase.mask().view(-1) for staircase in self.staircases])

    def initial_weights(self, identity: bool) -> Tensor:
        """Uniform within 1 / sqrt(inputs read), as torch's linear layers; zero in the last layer for the identity."""
        matrices = []
        for staircase in self.staircases:
            mask = staircase.mask()
            bound = mask[:, 1:].sum(dim=1, keepdim=True).clamp_min(1.0).rsqrt()
            matrices.append(mask * bound * (2.0 * torch.rand_like(mask) - 1.0))
        if identity:
            matrices[-1].zero_()
        return torch.cat([matrix.view(-1) for matrix in matrices])
