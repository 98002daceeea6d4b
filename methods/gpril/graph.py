"""What keeps a GPU busy: functions as CUDA graphs, one launch instead of hundreds, and results awaited only later.

On the CPU these are plain calls and plain values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


class Replayed:
    """A function whose kernels are recorded at its second call for inputs of these shapes, and replayed from then on.

    The function must do the same whatever the values of its inputs: no branches on them, no look at them from the host.
    What it reads besides must stay where it is in memory. On a GPU the results are overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Tensors]) -> None:
        self._function = function
        self._recorded: dict[tuple[torch.Size, ...], _Recording | None] = {}

    def __call__(self, *inputs: Tensor) -> Tensors:
        if not inputs[0].is_cuda:
            return self._function(*inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._recorded:
            self._recorded[shapes] = None
            return _aside(self._function, inputs)
        recording = self._recorded[shapes]
        if recording is None:
            recording = self._recorded[shapes] = _Recording(self._function, inputs)
        return recording.replay(inputs)


class Later:
    """Numbers on their way to the host, while the device goes on with what it is given next."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._arrived = tensor, None
        if tensor.is_cuda:
            self._tensor = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    @cached_property
    def values(self) -> list[Any]:
        """Nested lists; waits until they are there."""
        if self._arrived:
            self._arrived.synchronize()
        return self._tensor.tolist()


class _Recording:
    def __init__(self, function: Callable[..., Tensors], inputs: Tensors) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # roll-outs may go on in others
            self._outputs = function(*self._inputs)

    def replay(self, inputs: Tensors) -> Tensors:
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._graph.replay()
        return self._outputs


def _aside(function: Callable[..., Tensors], inputs: Tensors) -> Tensors:
    """A first call on a stream of its own, as recording asks for: libraries set themselves up, and no step is lost."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return outputs
