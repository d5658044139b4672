"""An `.onnx` file from outside, looked through before any runtime sees it.

Only the few messages and fields of onnx.proto that decide are read (https://protobuf.dev/programming-guides/encoding). A graph
that squeezekit wrote has operators of the standard alone, holds its weights itself, and makes the same shapes for every picture.
"""

from __future__ import annotations

from collections.abc import Iterator

from squeezekit.system.shown_text import shown

# Arithmetic, convolutions, poolings, products of matrices, norms and shapes: nothing that loops, branches, draws random numbers,
# or makes as many values as a picture says.
_NAMES = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift Cast CastLike
    Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool
    MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
    Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Where Xor
"""
OPERATORS = frozenset(_NAMES.split())
# All inputs but the first say what shape the result has; of the second kind, all.
_SHAPED = "Expand Pad ReduceMean ReduceSum Reshape Resize Slice Split Squeeze Tile TopK Unsqueeze"
SHAPED_BY_OTHERS, SHAPED_BY_ALL = frozenset(_SHAPED.split()), frozenset(("ConstantOfShape", "Range"))
# Fields of the messages of onnx.proto.
GRAPH, METADATA, TRAINING, FUNCTIONS = 7, 14, 20, 25
NODE, INITIALIZER, GRAPH_INPUT, SPARSE_INITIALIZER = 1, 5, 11, 15
INPUT, OUTPUT, OPERATOR, ATTRIBUTE, DOMAIN = 1, 2, 4, 5, 7
TENSOR, TENSORS, SUBGRAPH, SUBGRAPHS, SPARSE, SPARSES = 5, 10, 6, 11, 22, 23
TENSOR_NAME, EXTERNAL, LOCATION = 8, 13, 14
VALUE_NAME = 1
# In all: ours have some dozen for each operator, and each takes a microsecond to read here.
MAX_NODES, MAX_FIELDS = 10_000, 500_000


def check_onnx(content: bytes) -> None:
    """Raises BrokenOnnx for a file that squeezekit cannot have written or that could do harm."""
    try:
        _check_model(_Fields(), memoryview(content))
    except (IndexError, UnicodeDecodeError):
        raise BrokenOnnx("it is damaged or cut short, or is no ONNX") from None


class BrokenOnnx(ValueError):
    """Why a file is not taken, in half a sentence."""


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata of a file, by key; raises BrokenOnnx for what is no ONNX."""
    try:
        fields = _Fields()
        entries = [dict(fields.of(_bytes(value))) for field, value in fields.of(memoryview(content)) if field == METADATA]
        return {_text(entry.get(1, memoryview(b""))): _text(entry.get(2, memoryview(b""))) for entry in entries}
    except (IndexError, UnicodeDecodeError):
        raise BrokenOnnx("it is damaged or cut short, or is no ONNX") from None


def _check_model(fields: _Fields, model: memoryview) -> None:
    graphs = []
    for field, value in fields.of(model):
        if field == GRAPH:
            graphs.append(_bytes(value))
        elif field in (TRAINING, FUNCTIONS):
            raise BrokenOnnx("it holds functions or training steps of its own")
    if len(graphs) != 1:
        raise BrokenOnnx("it holds no graph")
    _check_graph(fields, graphs[0])


def _check_graph(fields: _Fields, graph: memoryview) -> None:
    # Names of values that depend on pictures, and of all that are there before an operator runs.
    pictures, known, nodes = set[str](), {""}, list[memoryview]()
    for field, value in fields.of(graph):
        if field == NODE:
            nodes.append(_bytes(value))
        elif field == INITIALIZER:
            _check_tensor(fields, _bytes(value))
            known |= {_text(part) for number, part in fields.of(_bytes(value)) if number == TENSOR_NAME}
        elif field == SPARSE_INITIALIZER:
            raise BrokenOnnx("it holds sparse tensors")
        elif field == GRAPH_INPUT:
            pictures |= {_text(part) for number, part in fields.of(_bytes(value)) if number == VALUE_NAME}
    if len(nodes) > MAX_NODES:
        raise BrokenOnnx(f"it holds more than {MAX_NODES:,} operators")
    known |= pictures
    for node in nodes:
        _check_node(fields, node, pictures, known)


def _check_node(fields: _Fields, node: memoryview, pictures: set[str], known: set[str]) -> None:
    inputs, outputs, operator = list[str](), list[str](), ""
    for field, value in fields.of(node):
        if field == INPUT:
            inputs.append(_text(value))
        elif field == OUTPUT:
            outputs.append(_text(value))
        elif field == OPERATOR:
            operator = _text(value)
        elif field == DOMAIN and _text(value) not in ("", "ai.onnx"):
            raise BrokenOnnx("it needs operators that are not in the standard")
        elif field == ATTRIBUTE:
            _check_attribute(fields, _bytes(value))
    if operator not in OPERATORS:
        raise BrokenOnnx(f"its operator '{shown(operator[:40])}' is none that squeezekit writes")
    # ONNX Runtime would sort them, and what depends on pictures would not be known here.
    if not known.issuperset(inputs):
        raise BrokenOnnx("its operators do not stand in the order in which they run")
    known |= set(outputs)
    shaping = inputs if operator in SHAPED_BY_ALL else inputs[1:] if operator in SHAPED_BY_OTHERS else []
    if pictures & set(shaping):
        raise BrokenOnnx(f"the shape that its operator '{operator}' makes depends on the picture")
    if operator not in ("Shape", "Size") and pictures & set(inputs):
        pictures |= set(outputs)


def _check_attribute(fields: _Fields, attribute: memoryview) -> None:
    for field, value in fields.of(attribute):
        if field in (SUBGRAPH, SUBGRAPHS, SPARSE, SPARSES):
            raise BrokenOnnx("it holds loops, branches or sparse tensors")
        if field in (TENSOR, TENSORS):
            _check_tensor(fields, _bytes(value))


def _check_tensor(fields: _Fields, tensor: memoryview) -> None:
    for field, value in fields.of(tensor):
        if field == EXTERNAL or (field == LOCATION and value != 0):
            raise BrokenOnnx("it takes weights from other files of this machine")


class _Fields:
    """The fields of messages, not too many in all."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def of(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Number and value of each: bytes where it has a length, else an integer; raises IndexError for what is no message."""
        position = 0
        while position < len(message):
            self._left -= 1
            if self._left < 0:
                raise BrokenOnnx(f"it consists of more than {MAX_FIELDS:,} parts")
            key, position = _integer(message, position)
            kind, value = key & 7, 0
            if kind == 0:
                value, position = _integer(message, position)
                yield key >> 3, value
                continue
            if kind == 2:
                length, position = _integer(message, position)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                # Groups, which onnx.proto has not.
                raise IndexError
            if length > len(message) - position:
                raise IndexError
            yield key >> 3, message[position : position + length]
            position += length


def _integer(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise IndexError


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise IndexError
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode()
