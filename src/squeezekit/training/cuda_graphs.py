"""Training steps as CUDA graphs: recorded once, then replayed, so that a GPU never waits for the host to launch its kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

Compute = Callable[[Tensor, Tensor], Tensor]

# Steps of a size that are computed as they come before one is recorded: libraries choose kernels, optimisers make their state.
WARM_UP = 3


class RecordedStep:
    """`compute`, of images [n, c, h, w] and labels [n] on a GPU, as one graph for each n that occurs more often.

    What `compute` reads beside its arguments (weights, rates, the state of random generators) must stay where it is; numbers that
    live in Python are frozen into the graph.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._seen = Counter[int]()
        self._graphs: dict[int, _Graph] = {}
        self._beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """What `compute` returns."""
        size = len(images)
        if size not in self._graphs:
            if self._seen[size] < WARM_UP:
                self._seen[size] += 1
                return self._computed(images, labels)
            self._graphs[size] = _Graph(self._compute, images, labels)
        return self._graphs[size](images, labels)

    def _computed(self, images: Tensor, labels: Tensor) -> Tensor:
        # On a stream of its own, as recording is, so that gradients are not bound to the default one.
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            result = self._compute(images, labels)
        torch.cuda.current_stream().wait_stream(self._beside)
        return result


class _Graph:
    """One recording, with the memory that its arguments and its result live in."""

    def __init__(self, compute: Compute, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.clone(), labels.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = compute(self._images, self._labels)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._result.clone()
