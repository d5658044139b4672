"""The text of a circuit: a top module that wires the modules of layers, and their memories."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

import numpy as np

from squeezekit.export.fpga.circuit import Circuit, Multiplication, rescaling_shift
from squeezekit.export.fpga.memories import is_by_pixel, map_queue, part_queue, rows_kept
from squeezekit.export.fpga.planner import CircuitPlan, Parallelism
from squeezekit.integer.plan import IntegerConvolution, IntegerHead

MODULES = (
    "add", "average", "concat", "convolution", "fifo", "fork_stream", "head", "logits", "multiply", "pool", "pool_axis",
    "product", "rescale", "window",
)  # fmt: skip
LINE = 118  # Characters of a line of Verilog.


def verilog_of(circuit: Circuit, planned: CircuitPlan, banner: str) -> dict[str, str]:
    """Every file of the circuit by its name: the top module, the layers', the testbench, the memories."""
    files = {"classifier.v": _Top(circuit, planned, banner).text()}
    files |= {f"{name}.v": part(f"{name}.v") for name in MODULES}
    for one in circuit.multiplications:
        step = circuit.plan.steps[one.number]
        assert isinstance(step, IntegerConvolution | IntegerHead)
        files[f"weights_{one.number}.hex"] = _hex(_words(step, one, planned.parallel[one.number]))
        pairs = zip(step.bias.tolist(), step.gain.tolist(), strict=True)
        entries = [(bias % 2**one.total_bits << one.gain_bits) | gain for bias, gain in pairs]
        files[f"table_{one.number}.hex"] = _hex((entry, one.total_bits + one.gain_bits) for entry in entries)
    files["testbench.v"] = _testbench(circuit, {name: text.count("\n") for name, text in files.items() if name.endswith(".hex")})
    return files


def part(name: str) -> str:
    """A file that goes with every circuit."""
    return (resources.files("squeezekit.export.fpga") / "verilog" / name).read_text(encoding="utf-8")


def _testbench(circuit: Circuit, memories: Mapping[str, int]) -> str:
    """With the picture's size, the words of each memory, and counters of the cycles in which steps multiply."""
    numbers = [one.number for one in circuit.multiplications]
    last, indent = "// The steps' multipliers.\n", " " * 8
    counted = [
        f"{indent}if (dut.{module}.words_valid && dut.{module}.words_ready) busy_{number} = busy_{number} + 1;\n"
        for number in numbers
        for module in [f"{'head' if number == numbers[-1] else 'convolution'}_step_{number}"]
    ]
    every = [f'{indent}    $write(" %0d", busy_{number});\n{indent}    busy_{number} = 0;\n' for number in numbers]
    probes = [
        *(f"    integer busy_{number} = 0;\n" for number in numbers),
        "    always @(posedge clock) if (every != 0 && !reset) begin\n",
        *counted,
        f'{indent}if (cycle % every == 0) begin\n{indent}    $write("busy %0d", cycle);\n',
        *every,
        f'{indent}    $write("\\n");\n{indent}end\n    end\n',
    ]
    text = part("testbench.v").replace("parameter BYTES = 1;", f"parameter BYTES = {circuit.map(0).bytes};")
    needed, first = "// The memories.\n", "".join(f'{indent}need("{name}", {words});\n' for name, words in memories.items())
    return text.replace(last, last + "".join(probes)).replace(needed, needed + first)


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
    """Writes the top module, feature map by feature map; a stream is known by its name, that of its three wires' beginning."""

    def __init__(self, circuit: Circuit, planned: CircuitPlan, banner: str) -> None:
        self._circuit, self._planned, self._banner = circuit, planned, banner
        self._multiplications = {one.number: one for one in circuit.multiplications}
        self._lines: list[str] = []
        # By feature map and reader (step, whether it adds a bypass).
        self._streams: dict[tuple[int, int, bool], str] = {}

    def text(self) -> str:
        """The whole file."""
        self._fork(0, "picture")
        for index in range(1, len(self._circuit.plan.feature_maps)):
            self._map(index)
        self._head()
        body, fraction = "\n".join(self._lines), self._circuit.plan.fraction
        return f"""// {self._banner}
//
// A picture comes byte by byte, row by row, channels innermost; its logits leave one by one, in units of 2**-{fraction}.
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
        """How a feature map is made, and who reads it."""
        maker, shape, name = self._circuit.makers[index], self._circuit.map(index), f"map_{index}"
        self._lines.append(f"\n    // Feature map {index}: {shape.height} x {shape.width}, {shape.channels} channels.")
        current = (
            self._joined(name, maker.convolutions) if maker.convolutions else self._streams[maker.source, maker.number, False]
        )
        if maker.size:
            current = self._pooled(f"{name}_pooled", current, index)
        if maker.residual:
            residual = maker.residual
            parameters = {"GAIN": residual.gain, "OFFSET": residual.offset, "SHIFT": residual.shift, "BELOW": residual.below}
            parameters["LOGIC"] = int(index not in self._planned.added_by_dsps)
            other = self._streams[residual.source, maker.number, True]
            current = self._instance("add", f"{name}_added", parameters, {"a": current, "b": other})
        if depth := map_queue(self._circuit, index):
            current = self._instance("fifo", name, {"DEPTH": depth}, {"in": current})
        self._fork(index, current)

    def _joined(self, name: str, numbers: Sequence[int]) -> str:
        """The channels of convolutions side by side."""
        current, channels = "", 0
        for number in numbers:
            step = self._circuit.convolution(number)
            part, filters = self._convolution(number, step), len(step.weights)
            if len(numbers) > 1:
                part = self._instance("fifo", f"{part}_part", {"DEPTH": part_queue(filters)}, {"in": part})
            if current:
                joining = {"A": channels, "B": filters}
                current = self._instance("concat", f"{name}_joined_{number}", joining, {"a": current, "b": part})
            else:
                current = part
            channels += filters
        return current

    def _convolution(self, number: int, step: IntegerConvolution) -> str:
        source = self._circuit.map(step.source)
        width = 1 if is_by_pixel(step) else source.width
        border = "".join(f"{byte:02x}" for byte in reversed(step.border))
        parameters = {
            "H": source.height,
            "W": source.width,
            "C": source.channels,
            "K": step.kernel,
            "STRIDE": step.stride,
            "PAD": step.padding,
            "BORDER": f"{8 * source.channels}'h{border}" if step.padding and any(step.border) else 0,
            "OUTPUTS": len(step.weights),
            "ROWS": rows_kept(step, width * source.channels // self._planned.parallel[number].lanes),
            "SHIFT": rescaling_shift(step),
            "GAIN": self._multiplications[number].gain_bits,
            "RESCALE_LOGIC": int(number not in self._planned.rescaled_by_dsps),
            **self._multiplying(number),
        }
        return self._instance("convolution", f"step_{number}", parameters, {"in": self._streams[step.source, number, False]})

    def _multiplying(self, number: int) -> dict[str, object]:
        """Parameters of what multiplies weights."""
        one, parallel = self._multiplications[number], self._planned.parallel[number]
        return {
            "FILTERS": parallel.filters,
            "LANES": parallel.lanes,
            "BITS": one.bits,
            "SUM": one.sum_bits,
            "TOTAL": one.total_bits,
            "LOGIC": int(parallel.in_logic),
            "WEIGHTS": f'"weights_{number}.hex"',
            "TABLE": f'"table_{number}.hex"',
        }

    def _pooled(self, name: str, current: str, index: int) -> str:
        height, width = self._circuit.before_pooling(index)
        parameters = {"H": height, "W": width, "C": self._circuit.map(index).channels, "SIZE": self._circuit.makers[index].size}
        return self._instance("pool", name, parameters, {"in": current})

    def _head(self) -> None:
        head, number = self._circuit.head, len(self._circuit.plan.steps) - 1
        source, one = self._circuit.map(head.source), self._multiplications[number]
        positions = source.height * source.width
        parameters = {
            "POSITIONS": positions,
            "C": source.channels,
            "AVERAGE": (255 * positions).bit_length(),
            "DROP": head.drop,
            "CLASSES": one.outputs,
            "WIDTH": max(one.total_bits + one.gain_bits + 1, head.shift + 2, 33),
            "SHIFT": head.shift,
            **self._multiplying(number),
        }
        self._lines.append("\n    // The head.")
        outputs = [(port, f"logit_{port[4:]}") for port in ("out_valid", "out_ready", "out_data", "out_last")]
        self._module("head", f"head_step_{number}", parameters, {"in": self._streams[head.source, number, False]}, outputs)

    def _fork(self, index: int, name: str) -> None:
        """The stream of a feature map for each of its readers, behind a queue where it has one."""
        readers, ways = self._circuit.readers[index], [name]
        if len(readers) > 1:
            ways = [f"map_{index}_for_{'add_' if reader.adds else 'step_'}{reader.number}" for reader in readers]
            self._lines.append(f"    wire [7:0] map_{index}_forked;")
            for way in ways:
                self._stream(way)
                self._lines.append(f"    assign {way}_data = map_{index}_forked;")
            valid, ready = (f"{{{', '.join(f'{way}_{port}' for way in reversed(ways))}}}" for port in ("valid", "ready"))
            outputs = [("out_valid", valid), ("out_ready", ready), ("out_data", f"map_{index}_forked")]
            self._module("fork_stream", f"fork_map_{index}", {"COUNT": len(readers)}, {"in": name}, outputs)
        for reader, way in zip(readers, ways, strict=True):
            end = self._instance("fifo", f"{way}_queue", {"DEPTH": reader.queue}, {"in": way}) if reader.queue else way
            self._streams[index, reader.number, reader.adds] = end

    def _stream(self, name: str) -> None:
        self._lines += [f"    wire {name}_valid, {name}_ready;", f"    wire [7:0] {name}_data;"]

    def _instance(self, module: str, name: str, parameters: Mapping[str, object], inputs: Mapping[str, str]) -> str:
        """A module that gives one stream, which has its name."""
        self._stream(name)
        ports = ("valid", "ready", "data")
        self._module(module, f"{module}_{name}", parameters, inputs, [(f"out_{port}", f"{name}_{port}") for port in ports])
        return name

    def _module(
        self, module: str, name: str, parameters: Mapping[str, object], inputs: Mapping[str, str], outputs: list[tuple[str, str]]
    ) -> None:
        wired = [(f"{key}_{port}", f"{stream}_{port}") for key, stream in inputs.items() for port in ("valid", "ready", "data")]
        ports = [("clock", "clock"), ("reset", "reset"), *wired, *outputs]
        set_to, connected = ([f".{key}({value})" for key, value in pairs] for pairs in (parameters.items(), ports))
        self._lines.append(_wrapped(f"    {module} #(", set_to, f") {name} ("))
        self._lines.append(_wrapped("        ", connected, ");"))


def _wrapped(before: str, words: Sequence[str], after: str) -> str:
    """Words with commas between them, in lines of at most LINE characters."""
    text = ", ".join(words[:-1]) + (", " if len(words) > 1 else "") + words[-1] + after.replace(" ", "\0")
    indent = " " * max(len(before) - len(before.lstrip()) + 8, 8) if before.strip() else before
    return "\n".join(textwrap.wrap(text, LINE, initial_indent=before, subsequent_indent=indent, break_long_words=False)).replace(
        "\0", " "
    )
