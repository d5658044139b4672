"""The text of a circuit: a top module that wires the modules of layers, and their memories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

import numpy as np

from squeezekit.export.fpga.circuit import Circuit, Multiplication, rescaling_shift
from squeezekit.export.fpga.memories import map_queue, part_queue
from squeezekit.export.fpga.planner import CircuitPlan, Parallelism
from squeezekit.integer.plan import IntegerConvolution, IntegerHead, Integers

MODULES = (
    "add", "average", "concat", "convolution", "fifo", "fork_stream", "head", "logits", "multiply", "pool", "pool_axis",
    "product", "rescale", "window",
)  # fmt: skip


def verilog_of(circuit: Circuit, planned: CircuitPlan, banner: str) -> dict[str, str]:
    """Every file of the circuit by its name: the top module, the layers', the testbench, the memories."""
    files = {"classifier.v": _Top(circuit, planned, banner).text()}
    files |= {f"{name}.v": part(f"{name}.v") for name in MODULES}
    image = circuit.map(0).bytes
    files["testbench.v"] = part("testbench.v").replace("parameter BYTES = 1;", f"parameter BYTES = {image};")
    for one in circuit.multiplications:
        step = circuit.plan.steps[one.number]
        assert isinstance(step, IntegerConvolution | IntegerHead)
        files[f"weights_{one.number}.hex"] = _hex(_words(step, one, planned.parallel[one.number]))
        entries = [(int(bias) % 2**one.total_bits << one.gain_bits) | int(gain) for bias, gain in zip(step.bias, step.gain)]
        files[f"table_{one.number}.hex"] = _hex((entry, one.total_bits + one.gain_bits) for entry in entries)
    return files


def part(name: str) -> str:
    """A file that goes with every circuit."""
    return (resources.files("squeezekit.export.fpga") / "verilog" / name).read_text(encoding="utf-8")


def _words(step: IntegerConvolution | IntegerHead, one: Multiplication, parallel: Parallelism) -> Iterable[tuple[int, int]]:
    """The words of a memory of weights, and their bits: by group of filters, by word of the stream; lane 0 of filter 0 lowest."""
    groups = -(-one.outputs // parallel.filters)
    flat = step.weights.reshape(one.outputs, -1, parallel.lanes).astype(np.int64) % 2**one.bits
    padded = np.zeros((groups * parallel.filters, *flat.shape[1:]), np.int64)
    padded[: one.outputs] = flat
    by_word = padded.reshape(groups, parallel.filters, -1, parallel.lanes).transpose(0, 2, 1, 3)
    bits = parallel.multipliers * one.bits
    for numbers in by_word.reshape(-1, parallel.multipliers):
        yield sum(int(number) << (one.bits * place) for place, number in enumerate(numbers)), bits


def _hex(words: Iterable[tuple[int, int]]) -> str:
    return "".join(f"{word:0{-(-bits // 4)}x}\n" for word, bits in words)


class _Top:
    """Writes the top module, stream by stream."""

    def __init__(self, circuit: Circuit, planned: CircuitPlan, banner: str) -> None:
        self._circuit, self._planned, self._parallel, self._banner = circuit, planned, planned.parallel, banner
        self._multiplications = {one.number: one for one in circuit.multiplications}
        self._lines: list[str] = []

    def text(self) -> str:
        """The whole file."""
        for index in range(len(self._circuit.plan.feature_maps)):
            self._map(index)
        self._head()
        body = "\n".join(self._lines)
        return f"""// {self._banner}
//
// A picture comes byte by byte, row by row, channels innermost; its logits leave one by one, in units of 2**-{self._circuit.plan.fraction}.
module classifier (
    input clock,
    input reset,
    input picture_valid,
    output picture_ready,
    input [7:0] picture_data,
    output logit_valid,
    input logit_ready,
    output signed [31:0] logit_data,
    output logit_last
);
{body}
endmodule
"""

    def _map(self, index: int) -> None:
        shape = self._circuit.map(index)
        self._lines.append(f"\n    // Feature map {index}: {shape.height} x {shape.width}, {shape.channels} channels.")
        name = f"map_{index}"
        if index:
            self._made(index, name)
        else:
            self._stream(name)
            self._lines += [f"    assign {name}_valid = picture_valid;", f"    assign {name}_data = picture_data;"]
            self._lines.append(f"    assign picture_ready = {name}_ready;")
        self._forked(index, name)

    def _made(self, index: int, name: str) -> None:
        maker = self._circuit.makers[index]
        current = ""
        if not maker.convolutions:
            current = self._input(maker.source, index)
        first = 0
        for number in maker.convolutions:
            step = self._circuit.convolution(number)
            made = self._convolution(number, step)
            if len(maker.convolutions) > 1:
                made = self._instance("fifo", f"{made}_part", {"DEPTH": part_queue(len(step.weights))}, {"in": made})
            if current:
                current = self._joined(f"{name}_joined_{number}", current, made, first, len(step.weights))
            else:
                current = made
            first += len(step.weights)
        if maker.size:
            current = self._pooled(f"{name}_pooled", current, index)
        if maker.residual:
            residual = maker.residual
            parameters = {"GAIN": residual.gain, "OFFSET": residual.offset, "SHIFT": residual.shift}
            parameters["LOGIC"] = int(self._planned.rescaling_in_logic)
            other = self._input(residual.source, index, adds=True)
            current = self._instance("add", f"{name}_added", parameters, {"a": current, "b": other})
        self._instance("fifo", name, {"DEPTH": map_queue(self._circuit, index)}, {"in": current})

    def _convolution(self, number: int, step: IntegerConvolution) -> str:
        source, one, parallel = self._circuit.map(step.source), self._multiplications[number], self._parallel[number]
        border = "".join(f"{byte:02x}" for byte in reversed(step.border))
        parameters = {
            "H": source.height,
            "W": source.width,
            "C": source.channels,
            "K": step.kernel,
            "STRIDE": step.stride,
            "PAD": step.padding,
            "BORDER": f"{8 * source.channels}'h{border}" if step.padding and any(step.border) else 0,
            "OUTPUTS": one.outputs,
            "FILTERS": parallel.filters,
            "LANES": parallel.lanes,
            "BITS": one.bits,
            "SUM": one.sum_bits,
            "TOTAL": one.total_bits,
            "GAIN": one.gain_bits,
            "SHIFT": rescaling_shift(step),
            "LOGIC": int(parallel.in_logic),
            "RESCALE_LOGIC": int(self._planned.rescaling_in_logic),
            "WEIGHTS": f'"weights_{number}.hex"',
            "TABLE": f'"table_{number}.hex"',
        }
        return self._instance("convolution", f"step_{number}", parameters, {"in": self._input(step.source, step.target, number)})

    def _pooled(self, name: str, current: str, index: int) -> str:
        maker, circuit = self._circuit.makers[index], self._circuit
        if maker.convolutions:
            height, width = circuit.plan.sum_shape(circuit.convolution(maker.convolutions[0]))
        else:
            height, width = circuit.map(maker.source).height, circuit.map(maker.source).width
        parameters = {"H": height, "W": width, "C": circuit.map(index).channels, "SIZE": maker.size}
        return self._instance("pool", name, parameters, {"in": current})

    def _joined(self, name: str, one: str, other: str, first: int, channels: int) -> str:
        return self._instance("concat", name, {"A": first, "B": channels}, {"a": one, "b": other})

    def _head(self) -> None:
        head, number = self._circuit.head, len(self._circuit.plan.steps) - 1
        source, one, parallel = self._circuit.map(head.source), self._multiplications[number], self._parallel[number]
        positions = source.height * source.width
        parameters = {
            "POSITIONS": positions,
            "C": source.channels,
            "AVERAGE": (255 * positions).bit_length(),
            "DROP": head.drop,
            "CLASSES": one.outputs,
            "FILTERS": parallel.filters,
            "LANES": parallel.lanes,
            "BITS": one.bits,
            "SUM": one.sum_bits,
            "TOTAL": one.total_bits,
            "WIDTH": max(one.total_bits + one.gain_bits + 1, head.shift + 2, 33),
            "SHIFT": head.shift,
            "LOGIC": int(parallel.in_logic),
            "WEIGHTS": f'"weights_{number}.hex"',
            "TABLE": f'"table_{number}.hex"',
        }
        self._lines.append("\n    // The head.")
        outputs = [(port, f"logit_{port[4:]}") for port in ("out_valid", "out_ready", "out_data", "out_last")]
        self._module("head", f"step_{number}", parameters, {"in": self._input(head.source, None, number)}, outputs)

    def _forked(self, index: int, name: str) -> None:
        """The stream of a feature map for each of its readers, behind a queue where it has one."""
        readers = self._circuit.readers[index]
        ways = [name]
        if len(readers) > 1:
            ways = [f"{name}_way_{i}" for i in range(len(readers))]
            for way in ways:
                self._stream(way)
            valid, ready = (f"{{{', '.join(f'{way}_{port}' for way in reversed(ways))}}}" for port in ("valid", "ready"))
            self._lines.append(f"    wire [7:0] {name}_forked;")
            self._lines += [f"    assign {way}_data = {name}_forked;" for way in ways]
            outputs = [("out_valid", valid), ("out_ready", ready), ("out_data", f"{name}_forked")]
            self._module("fork_stream", f"{name}_fork", {"COUNT": len(readers)}, {"in": name}, outputs)
        for reader, way in zip(readers, ways, strict=True):
            end = self._way(index, reader.number, reader.adds)
            if reader.queue:
                self._instance("fifo", end, {"DEPTH": reader.queue}, {"in": way})
            else:
                self._stream(end)
                self._lines += [f"    assign {end}_valid = {way}_valid;", f"    assign {end}_data = {way}_data;"]
                self._lines.append(f"    assign {way}_ready = {end}_ready;")

    def _way(self, index: int, number: int, adds: bool) -> str:
        return f"map_{index}_to_{'add_' if adds else 'step_'}{number}"

    def _input(self, source: int, target: int | None, number: int | None = None, *, adds: bool = False) -> str:
        """The stream by which a feature map reaches what reads it."""
        for reader in self._circuit.readers[source]:
            if reader.target == target and reader.adds == adds and number in (None, reader.number):
                return self._way(source, reader.number, adds)
        raise AssertionError("every stream has its reader")

    def _stream(self, name: str, bits: int = 8) -> None:
        self._lines += [f"    wire {name}_valid, {name}_ready;", f"    wire [{bits - 1}:0] {name}_data;"]

    def _instance(self, module: str, name: str, parameters: Mapping[str, object], inputs: Mapping[str, str]) -> str:
        """A module that gives one stream, which has its name."""
        self._stream(name)
        ports = ("valid", "ready", "data")
        self._module(module, f"{module}_{name}", parameters, inputs, [(f"out_{port}", f"{name}_{port}") for port in ports])
        return name

    def _module(
        self, module: str, name: str, parameters: Mapping[str, object], inputs: Mapping[str, str], outputs: list[tuple[str, str]]
    ) -> None:
        set_to = ", ".join(f".{key}({value})" for key, value in parameters.items())
        wired = [(f"{key}_{port}", f"{stream}_{port}") for key, stream in inputs.items() for port in ("valid", "ready", "data")]
        ports = [f".{port}({wire})" for port, wire in [("clock", "clock"), ("reset", "reset"), *wired, *outputs]]
        self._lines.append(f"    {module} #({set_to}) {name} (")
        self._lines.append(f"        {', '.join(ports)});")
