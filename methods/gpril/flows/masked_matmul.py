"""Masked weight matrices of a masked autoencoder (MADE), and matrix products that skip most of the masked entries.

Units are sorted by degree, so every row of a weight matrix reads a prefix of its columns, and the prefix never gets
shorter from one row to the next. Columns are ordered: bias, context (first layer only), units of the layer below.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

BLOCK = 125
"""Smallest number of rows and columns in a block: smaller blocks skip more of the mask, but their products are slow."""


class MaskedMatrix:
    """Mask of a weight matrix whose row r reads only its first `prefix[r]` columns; products are done block by block.

    Attributes:
        prefix: number of columns that each row reads, non-decreasing.
        rows: number of rows.
        columns: number of columns.
        shared: number of leading columns that every row reads and that are no units (bias and context).
    """

    def __init__(self, prefix: Sequence[int], columns: int, shared: int) -> None:
        self.prefix = tuple(prefix)
        self.rows = len(prefix)
        self.columns = columns
        self.shared = shared
        count = max(1, min(self.rows, columns) // BLOCK)
        row_edges = [self.rows * k // count for k in range(count + 1)]
        column_edges = [shared + (columns - shared) * k // count for k in range(count + 1)]
        self._row_blocks = [(first, last, prefix[last - 1]) for first, last in pairwise(row_edges)]
        self._column_blocks = [(first, last, bisect_right(prefix, first)) for first, last in pairwise(column_edges)]

    def mask(self) -> Tensor:
        """1 where a weight may differ from 0, [rows, columns]."""
        return (torch.arange(self.columns) < torch.tensor(self.prefix)[:, None]).float()

    def product(self, weight: Tensor, units: Tensor, out: Tensor) -> None:
        """out = weight @ units, [rows, n], for a weight whose masked entries are 0."""
        if len(self._row_blocks) == 1:
            torch.mm(weight, units, out=out)
            return
        for first, last, prefix in self._row_blocks:
            torch.mm(weight[first:last, :prefix], units[:prefix], out=out[first:last])

    def weight_gradient(self, gradient: Tensor, units: Tensor, out: Tensor) -> None:
        """out = gradient @ units.T, [rows, columns]; exact where the mask is 1, undefined elsewhere."""
        if len(self._row_blocks) == 1:
            torch.mm(gradient, units.T, out=out)
            return
        for first, last, prefix in self._row_blocks:
            torch.mm(gradient[first:last], units[:prefix].T, out=out[first:last, :prefix])

    def unit_gradient(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """(weight.T @ gradient)[shared:], [columns - shared, n]."""
        if len(self._column_blocks) == 1:
            return weight[:, self.shared :].T @ gradient
        out = gradient.new_empty(self.columns - self.shared, gradient.shape[-1])
        for first, last, row in self._column_blocks:
            below = out[first - self.shared : last - self.shared]
            torch.mm(weight[row:, first:last].T, gradient[row:], out=below)
        return out


class WeightLayout:
    """How the weights of one MADE are stored in a flat vector.

    Attributes:
        features: D.
        context: C.
        degrees: degrees of the units of each hidden layer, ascending from 0 to D - 1.
        matrices: masks of the matrices into the hidden layers, then into the outputs mu_0, u_0, mu_1, u_1, ...
        size: total number of weights.
    """

    def __init__(self, features: int, context: int, hidden: Sequence[int]) -> None:
        self.features = features
        self.context = context
        self.degrees = [[unit * features // units for unit in range(units)] for units in hidden]
        shared = 1 + context
        self.matrices = [MaskedMatrix([shared + degree for degree in self.degrees[0]], shared + features, shared)]
        outputs = [dimension for dimension in range(features) for _ in range(2)]
        for below, degrees in zip(self.degrees, [*self.degrees[1:], outputs], strict=True):
            prefix = [1 + bisect_right(below, degree) for degree in degrees]
            self.matrices.append(MaskedMatrix(prefix, 1 + len(below), 1))
        self._sizes = [matrix.rows * matrix.columns for matrix in self.matrices]
        self.size = sum(self._sizes)

    def views(self, vector: Tensor) -> list[Tensor]:
        """The matrices [rows, columns] as views of a vector [size]."""
        parts = vector.split(self._sizes)
        return [part.view(matrix.rows, matrix.columns) for part, matrix in zip(parts, self.matrices, strict=True)]

    def mask(self) -> Tensor:
        """1 where a weight may differ from 0, [size]."""
        return torch.cat([matrix.mask().view(-1) for matrix in self.matrices])

    def initial_weights(self, identity: bool) -> Tensor:
        """Uniform within 1 / sqrt(inputs read), as torch's linear layers; zero in the last layer for the identity."""
        weights = []
        for matrix in self.matrices:
            mask = matrix.mask()
            bound = mask[:, 1:].sum(dim=1, keepdim=True).clamp_min(1.0).rsqrt()
            weights.append(mask * bound * (2.0 * torch.rand_like(mask) - 1.0))
        if identity:
            weights[-1].zero_()
        return torch.cat([weight.view(-1) for weight in weights])
