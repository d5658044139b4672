"""A plan in the memory of a device, run by the C runtime."""

from __future__ import annotations

import ctypes
import threading
from array import array

from ..integer.layer_records import records_of
from ..integer.memory import MemoryPlanner, row_bytes, weight_bytes
from ..integer.plan import IntegerConvolution, IntegerHead, IntegerPlan
from ..system.errors import SqueezekitError
from .library import library


class _Model(ctypes.Structure):
    """`struct sqz_model` of runtime.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("layers", "weights", "packed", "runs", "biases", "gains", "head_gains")),
        ("border", ctypes.c_uint8 * 4),
        ("order", ctypes.c_void_p),
        ("order_count", ctypes.c_uint32),
        ("counters", ctypes.c_uint32),
        ("layer_count", ctypes.c_uint16),
        ("classes", ctypes.c_uint16),
        ("mirrored", ctypes.c_uint8),
        ("decode", ctypes.c_void_p),
    )


class DeviceNetwork:
    """A network of a plan; raises SqueezekitError where it does not fit the runtime's tables."""

    def __init__(self, plan: IntegerPlan) -> None:
        self.plan, self._lock = plan, threading.Lock()
        memory = MemoryPlanner(plan).by_layer()
        self._weights = bytearray()
        layers = b"".join(record.packed() for record in records_of(plan, memory, self._add))
        head, convolutions = plan.steps[-1], [step for step in plan.steps if isinstance(step, IntegerConvolution)]
        assert isinstance(head, IntegerHead)
        biases = array("i", (number for bias in (*(step.bias for step in convolutions), head.bias) for number in bias))
        gains = array("H", (number for step in convolutions for number in step.gain))
        self._arena, self._logits = ctypes.create_string_buffer(memory.arena.bytes), (ctypes.c_int32 * head.filters)()
        # The model's tables, which must stay where they are.
        self._tables = [
            (ctypes.c_char * len(table)).from_buffer(bytearray(table) or bytearray(1))
            for table in (layers, self._weights, biases.tobytes(), gains.tobytes(), array("I", head.gain).tobytes())
        ]
        self._model = self._model_of(plan, head)

    def __call__(self, pixels: bytes) -> list[int]:
        """Logits of an image [side][side][channels], one a class, in units of 2**-fraction."""
        image = self.plan.feature_maps[0]
        if len(pixels) != image.bytes:
            raise SqueezekitError(f"an image of {len(pixels):,} bytes: give {image.height} × {image.width} × {image.channels}")
        with self._lock:
            library().run(ctypes.byref(self._model), pixels, self._arena, self._logits)
            return list(self._logits)

    def _add(self, _number: int, step: IntegerConvolution | IntegerHead) -> dict[str, int]:
        """Where the weights of a step begin."""
        begin, depthwise = len(self._weights), isinstance(step, IntegerConvolution) and step.depthwise
        self._weights += step.weights.rows(row_bytes(step), depthwise)  # type: ignore[attr-defined]
        assert len(self._weights) - begin == weight_bytes(step)
        return {"weights": begin}

    def _model_of(self, plan: IntegerPlan, head: IntegerHead) -> _Model:
        layers, weights, biases, gains, head_gains = (ctypes.addressof(table) for table in self._tables)
        stem = plan.steps[0]
        assert isinstance(stem, IntegerConvolution)
        border = (ctypes.c_uint8 * 4)(*stem.border)
        model = _Model(layers, weights, None, None, biases, gains, head_gains, border, None, 0, 0)
        model.layer_count, model.classes, model.mirrored = len(plan.steps), head.filters, plan.mirrored
        if size := library().packed_size(ctypes.byref(model)):
            self._packed = ctypes.create_string_buffer(size)
            library().pack(ctypes.byref(model), self._packed)
            model.packed = ctypes.addressof(self._packed)
        return model
