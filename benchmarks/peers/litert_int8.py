"""A SqueezeNet of random weights in int8 on LiteRT with XNNPACK, one thread: python litert_int8.py CONFIG WIDTHS SECONDS.

CONFIG is the network's configuration as JSON, without bypass and with a stem of stride 1; WIDTHS
are (squeeze, expand 1×1, expand 3×3) of each Fire module. The model is written here, in the schema that LiteRT brings:
convolutions of int8 weights with a scale for each filter, ReLU in them, and maps of one scale, as its converter would make them.
Prints one JSON line: `ms`, the median of single calls, and `bytes` of the model.
"""

import json
import statistics
import sys
import time

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

SCALE, ZERO = 0.05, -128  # Of every map: from 0 to 12.75.
STEP = 0.002  # Of every weight.


class Writer:
    """Gathers tensors and operators; tensors are numbers."""

    def __init__(self):
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs, self.model.buffers = 3, [self.graph], [schema.BufferT()]
        self.model.operatorCodes, self.graph.tensors, self.graph.operators = [], [], []
        self.random = np.random.default_rng(0)

    def tensor(self, shape, kind=schema.TensorType.INT8, scales=(SCALE,), zero=ZERO, content=None):
        """A map, or with `content` a constant."""
        made = schema.TensorT()
        made.shape, made.type, made.name = list(shape), kind, f"t{len(self.graph.tensors)}"
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = list(scales), [zero] * len(scales)
        made.buffer = 0
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(self, code, kind, options, inputs, output):
        """One step; returns its output."""
        codes = [entry.builtinCode for entry in self.model.operatorCodes]
        if code not in codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 3
            self.model.operatorCodes.append(entry)
            codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = codes.index(code), list(inputs), [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        self.graph.operators.append(made)
        return output

    def shape(self, number):
        """Of a tensor."""
        return self.graph.tensors[number].shape

    def convolution(self, x, filters, kernel, relu=True):
        """“Same” padding, stride 1."""
        _, height, width, channels = self.shape(x)
        weights = self.random.integers(-127, 128, (filters, kernel, kernel, channels)).astype(np.int8)
        kept = self.tensor(weights.shape, scales=(STEP,) * filters, zero=0, content=weights)
        bias = self.random.integers(-1000, 1000, filters).astype(np.int32)
        added = self.tensor([filters], schema.TensorType.INT32, (STEP * SCALE,) * filters, 0, bias)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
        out = self.tensor([1, height, width, filters])
        return self.operator(schema.BuiltinOperator.CONV_2D, schema.BuiltinOptions.Conv2DOptions, options, [x, kept, added], out)

    def pooling(self, x, code, size, stride):
        """Windows of `size` × `size`; sides that are not whole multiples are padded."""
        _, height, width, channels = self.shape(x)
        options = schema.Pool2DOptionsT()
        options.padding, options.fusedActivationFunction = schema.Padding.SAME, schema.ActivationFunctionType.NONE
        if size == height:
            options.padding = schema.Padding.VALID
        options.strideW = options.strideH = stride
        options.filterWidth = options.filterHeight = size
        sides = [1, 1] if size == height else [-(-height // stride), -(-width // stride)]
        out = self.tensor([1, *sides, channels])
        return self.operator(code, schema.BuiltinOptions.Pool2DOptions, options, [x], out)

    def together(self, parts):
        """Channels one after another."""
        options = schema.ConcatenationOptionsT()
        options.axis, options.fusedActivationFunction = 3, schema.ActivationFunctionType.NONE
        _, height, width, _ = self.shape(parts[0])
        out = self.tensor([1, height, width, sum(self.shape(part)[3] for part in parts)])
        return self.operator(
            schema.BuiltinOperator.CONCATENATION, schema.BuiltinOptions.ConcatenationOptions, options, parts, out
        )

    def packed(self, first, last):
        """The file's bytes."""
        self.graph.inputs, self.graph.outputs = [first], [last]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def network(config, widths):
    """The layers of squeezekit's family."""
    if config["bypass"] != "none" or config["stem_stride"] != 1:
        sys.exit("only networks without bypass, with a stem of stride 1")
    writer = Writer()
    side = config["image_size"]
    first = writer.tensor([1, side, side, config["channels"]])
    x = writer.convolution(first, config["stem_width"], config["stem_kernel"])
    for number, (squeeze, expand1x1, expand3x3) in enumerate(widths, 1):
        if number in config["pool_before"]:
            x = writer.pooling(x, schema.BuiltinOperator.MAX_POOL_2D, config["pool_size"], 2)
        squeezed = writer.convolution(x, squeeze, 1)
        x = writer.together([writer.convolution(squeezed, expand1x1, 1), writer.convolution(squeezed, expand3x3, 3)])
    x = writer.pooling(x, schema.BuiltinOperator.AVERAGE_POOL_2D, writer.shape(x)[1], 1)
    return writer.packed(first, writer.convolution(x, config["classes"], 1, relu=False))


def main():
    config, widths, seconds = json.loads(sys.argv[1]), json.loads(sys.argv[2]), float(sys.argv[3])
    content = network(config, widths)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    side = config["image_size"]
    picture = np.random.default_rng(1).integers(-128, 128, (1, side, side, config["channels"])).astype(np.int8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    begin, times = time.perf_counter(), []
    while (now := time.perf_counter()) - begin < seconds:
        interpreter.invoke()
        times.append(time.perf_counter() - now)
    times = times[len(times) // 10 :]
    print(json.dumps({"ms": 1e3 * statistics.median(times), "bytes": len(content)}))


main()
