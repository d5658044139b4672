"""Networks in ONNX files of others compute what ONNX Runtime makes of them; what cannot be read is named."""

import warnings

import numpy as np
import pytest
import torch

from squeezekit.inference.onnx_graph import build_graph, read_onnx_graph
from squeezekit.integer.quantizer import no_integer_form
from squeezekit.networks import network_config
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.onnx_graphs import brightness, constant, node, onnx

onnxruntime = pytest.importorskip("onnxruntime")
SIDE = 12


def written(path, nodes, constants=None, side=SIDE, shape=None):
    """A file whose nodes take `x` and make `y`."""
    random = np.random.default_rng(0)
    tensors = []
    for name, value in (constants or {}).items():
        if isinstance(value, tuple):
            drawn = random.normal(size=value)
            # Variances are positive.
            value = abs(drawn) + 0.1 if name.startswith("v") else drawn
        tensors.append(constant(name, value, np.int64 if isinstance(value, list) else np.float32))
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape or ["n", 3, side, side])
    gives = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(nodes, "g", [given], [gives], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def check(path, image_size=None):
    """The same answers as ONNX Runtime, where the image is scaled as the graph says."""
    graph = read_onnx_graph(path, image_size)
    x = torch.rand(2, graph.channels, graph.image_size, graph.image_size)
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (graph.mean, graph.std))
    found = build_graph(graph, graph.mean, graph.std)(((x - mean) / std).float()).detach().numpy()
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    return graph


HEAD = [
    node("GlobalAveragePool", ["last"], ["mean"]),
    node("Flatten", ["mean"], ["flat"]),
    node("Gemm", ["flat", "w", "b"], ["y"]),
]
HEAD_CONSTANTS = {"w": (5, 4), "b": (4,)}
CONSTANTS = {"k": (5, 3, 3, 3), **HEAD_CONSTANTS}
BEFORE = {
    "strides, padding, groups": ([node("Conv", ["x", "k"], ["last"], pads=[1, 0, 2, 1], strides=[2, 2])], {"k": (5, 3, 3, 3)}),
    "the same size above": ([node("Conv", ["x", "k"], ["last"], auto_pad="SAME_UPPER", strides=[2, 2])], {"k": (5, 3, 3, 3)}),
    "the same size below": ([node("Conv", ["x", "k"], ["last"], auto_pad="SAME_LOWER", strides=[2, 2])], {"k": (5, 3, 4, 4)}),
    "zeros around it": (
        [node("Pad", ["x", "pads"], ["padded"]), node("Conv", ["padded", "k"], ["last"], strides=[2, 2])],
        {"pads": [0, 0, 0, 1, 0, 0, 2, 1], "k": (5, 3, 3, 3)},
    ),
    "every second pixel, zeros as further channels": (
        [
            node("Conv", ["x", "k"], ["A"]),
            node("Slice", ["A", "zero", "end", "height", "two"], ["B"]),
            node("Slice", ["B", "zero", "end", "width", "two"], ["C"]),
            node("Identity", ["C"], ["D"]),
            node("Pad", ["D", "more"], ["E"]),
            node("Conv", ["D", "l"], ["F"], strides=[2, 2]),
            node("Conv", ["E", "m"], ["G"], strides=[2, 2]),
            node("Add", ["F", "G"], ["last"]),
        ],
        {
            "k": (3, 3, 2, 2),
            "zero": [0],
            "end": [(1 << 63) - 1],
            "height": [2],
            "width": [-1],
            "two": [2],
            "more": [0, 1, 0, 0, 0, 2, 0, 0],
            "l": (5, 3, 1, 1),
            "m": (5, 6, 1, 1),
        },
    ),
    "batch normalization of a layer and of a sum of channels": (
        [
            node("Conv", ["x", "k"], ["A"]),
            node("BatchNormalization", ["A", "g", "s", "m", "v"], ["B"]),
            node("Conv", ["x", "l"], ["C"]),
            node("Concat", ["B", "C"], ["D"], axis=1),
            node("BatchNormalization", ["D", "g5", "s5", "m5", "v5"], ["last"]),
        ],
        {"k": (3, 3, 1, 1), "l": (2, 3, 1, 1), **dict.fromkeys("gsmv", (3,)), **{f"{name}5": (5,) for name in "gsmv"}},
    ),
    "arithmetic on the image and on a map": (
        [
            node("Div", ["x", "D"], ["A"]),
            node("Sub", ["A", "m"], ["B"]),
            node("Mul", ["B", "v"], ["C"]),
            node("Conv", ["C", "k"], ["E"]),
            node("Relu", ["E"], ["F"]),
            node("Mul", ["F", "h"], ["I"]),
            node("Add", ["h", "I"], ["last"]),
        ],
        {"D": 4.0, "m": (3, 1, 1), "v": (1, 3, 1, 1), "k": (5, 3, 3, 3), "h": (1, 5, 1, 1)},
    ),
    "poolings": (
        [
            node("Conv", ["x", "k"], ["A"]),
            node("MaxPool", ["A"], ["B"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
            node("Clip", ["B", "zero", "six"], ["C"]),
            node("AveragePool", ["C"], ["D"], kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
            node("Dropout", ["D"], ["last"]),
        ],
        {"k": (5, 3, 3, 3), "zero": 0.0, "six": 6.0},
    ),
}


@pytest.mark.parametrize("name", BEFORE)
def test_nodes_give_the_answers_of_onnx_runtime(tmp_path, name):
    nodes, constants = BEFORE[name]
    check(written(tmp_path / "g.onnx", [*nodes, *HEAD], {**constants, **HEAD_CONSTANTS}))


NOTHING = {"zero": [0], "end": [(1 << 63) - 1], "height": [2], "one": [1], "none": [0] * 8}
AGAIN = {
    "a name for a layer's output that is scaled elsewhere": (
        [
            node("Conv", ["x", "k"], ["A"]),
            node("Identity", ["A"], ["B"]),
            node("Relu", ["A"], ["C"]),
            node("Mul", ["B", "v"], ["D"]),
            node("Add", ["C", "D"], ["last"]),
        ],
        {"k": (5, 3, 3, 3), "v": (5, 1, 1)},
    ),
    "an image that is scaled for one of two layers": (
        [
            node("Mul", ["x", "three"], ["A"]),
            node("Conv", ["A", "k"], ["B"]),
            node("Conv", ["x", "k"], ["C"]),
            node("Add", ["B", "C"], ["last"]),
        ],
        {"k": (5, 3, 3, 3), "three": 3.0},
    ),
    **{
        f"a layer that {what} leaves as it is, and that is scaled behind it": (
            [
                node("Conv", ["x", "k"], ["A"]),
                node(kind, ["A", *inputs], ["S"]),
                node("Identity", ["S"], ["T"]),
                node("Mul", ["T", "v"], ["B"]),
                node("Relu", ["A"], ["C"]),
                node("Add", ["B", "C"], ["last"]),
            ],
            {"k": (5, 3, 3, 3), "v": (5, 1, 1), **NOTHING},
        )
        for kind, what, inputs in (("Slice", "a slice", ["zero", "end", "height", "one"]), ("Pad", "a border", ["none"]))
    },
    **{
        f"an image that {what} leaves as it is, and that is scaled behind it for one of two layers": (
            [
                node(kind, ["x", *inputs], ["S"]),
                node("Mul", ["S", "three"], ["A"]),
                node("Conv", ["A", "k"], ["B"]),
                node("Conv", ["x", "k"], ["C"]),
                node("Add", ["B", "C"], ["last"]),
            ],
            {"k": (5, 3, 3, 3), "three": 3.0, **NOTHING},
        )
        for kind, what, inputs in (("Slice", "a slice", ["zero", "end", "height", "one"]), ("Pad", "a border", ["none"]))
    },
    "a bias for all": ([node("Conv", ["x", "k"], ["A"]), node("Add", ["A", "one"], ["last"])], {"k": (5, 3, 3, 3), "one": 1.0}),
    "a wide border of a pooling": (
        [node("Conv", ["x", "k"], ["A"]), node("MaxPool", ["A"], ["last"], kernel_shape=[3, 3], pads=[2, 2, 2, 2])],
        {"k": (5, 3, 3, 3)},
    ),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_read_twice_keeps_its_values(tmp_path, name):
    nodes, constants = AGAIN[name]
    check(written(tmp_path / "g.onnx", [*nodes, *HEAD], {**constants, **HEAD_CONSTANTS}))


def test_what_would_be_computed_otherwise_is_refused(tmp_path):
    layer = node("Conv", ["x", "k"], ["A"])
    norm = dict.fromkeys("gsmv", (5,))
    rows = {"from": [0], "to": [10], "of": [2], "by": [2]}
    every_second, relu = node("Slice", ["A", "from", "to", "of", "by"], ["S"]), node("Relu", ["S"], ["last"])
    for nodes, constants, said in (
        ([node("Mul", ["A", "row"], ["last"])], {"row": (1, 1, 1, 10)}, "not one number for each channel"),
        ([node("BatchNormalization", ["A", *"gsmv"], ["last"], training_mode=1)], norm, "statistics of its own images"),
        ([node("AveragePool", ["A"], ["last"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}, "an edge in its averages"),
        (
            [node("Pad", ["A", "pads", "", "axes"], ["last"])],
            {"pads": [0, 0, 1, 2, 0, 0, 0, 0], "axes": [0, 1, 3, 2]},
            "in the order",
        ),
        ([node("ReduceMean", ["A"], ["last"])], {}, "not the mean over height and width"),
        ([every_second, relu], {**rows, "from": [1]}, "does not take every second row or column"),
        ([every_second, relu], {**rows, "to": [9]}, "does not take every second row or column"),
        ([every_second, relu], {**rows, "of": [1]}, "does not take every second row or column"),
        ([every_second, node("Pad", ["S", "more"], ["last"])], {**rows, "more": [0, 1, *[0] * 6]}, "other rows than columns"),
        ([every_second, relu], rows, "takes every second row or column, and is no convolution"),
        ([every_second, node("Conv", ["S", "n"], ["last"])], {**rows, "n": (5, 5, 3, 3)}, "by filters of more than a pixel"),
        ([node("Pad", ["A", "many"], ["last"])], {"many": [0, 1 << 62, 0, 0, 0, 0, 0, 0]}, "more than .* parameters"),
        ([node("Pad", ["A", "many"], ["last"])], {"many": [0, 1, 1, 0, 0, 0, 0, 0]}, "around a map and beside its channels"),
        (
            [node("GlobalAveragePool", ["A"], ["p"]), node("Add", ["p", "five"], ["last"])],
            {"five": (5,)},
            "not one number for each channel",
        ),
        (
            [node("GlobalAveragePool", ["A"], ["p"]), node("Conv", ["p", "m"], ["last"], pads=[1, 1, 1, 1])],
            {"m": (5, 5, 1, 1)},
            "has zeros around one pixel",
        ),
        ([node("Slice", ["A", "from", "to"], ["last"])], rows, "does not say along which axes"),
        ([every_second, relu], {**rows, "by": [11]}, "does not take every second row or column"),
    ):
        with pytest.raises(SqueezekitError, match=said):
            read_onnx_graph(written(tmp_path / "g.onnx", [layer, *nodes, *HEAD], {**CONSTANTS, **constants}))


HEADS = {
    "products": (
        [node("Reshape", ["a", "shape"], ["c"]), node("MatMul", ["c", "w"], ["d"]), node("Add", ["d", "b"], ["y"])],
        {"shape": [0, -1], "w": (500, 4), "b": (4,)},
    ),
    "a convolution of one pixel": (
        [
            node("ReduceMean", ["a", "axes"], ["c"], keepdims=1),
            node("Conv", ["c", "l"], ["d"]),
            node("Squeeze", ["d", "axes"], ["y"]),
        ],
        {"axes": [2, 3], "l": (4, 5, 1, 1)},
    ),
    "a mean of one pixel, scaled and cut off below": (
        [
            node("GlobalAveragePool", ["a"], ["c"]),
            node("Conv", ["c", "l"], ["d"]),
            node("Mul", ["d", "v"], ["e"]),
            node("Relu", ["e"], ["f"]),
            node("Flatten", ["f"], ["g"]),
            node("Gemm", ["g", "m"], ["y"]),
        ],
        {"l": (4, 5, 1, 1), "v": 0.5, "m": (4, 4)},
    ),
    "a mean": ([node("AveragePool", ["a"], ["c"], kernel_shape=[10, 10]), node("Flatten", ["c"], ["y"])], {}),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_several_kinds(tmp_path, name):
    nodes, constants = HEADS[name]
    path = written(tmp_path / "g.onnx", [node("Conv", ["x", "k"], ["a"]), *nodes], {"k": (5, 3, 3, 3), **constants})
    assert check(path).classes == (5 if name == "a mean" else 4)


def test_probabilities_at_the_end_are_logits_again(tmp_path):
    nodes = [node("Conv", ["x", "k"], ["last"]), *HEAD[:2], node("Gemm", ["flat", "w", "b"], ["z"])]
    plain = read_onnx_graph(written(tmp_path / "a.onnx", [*nodes, node("Identity", ["z"], ["y"])], CONSTANTS))
    soft = read_onnx_graph(written(tmp_path / "b.onnx", [*nodes, node("Softmax", ["z"], ["y"], axis=1)], CONSTANTS))
    assert plain.nodes == soft.nodes
    padded = [
        *nodes[:-2],
        node("Conv", ["mean", "c"], ["scores"]),
        node("Pad", ["scores", "none"], ["same"]),
        node("Softmax", ["same"], ["soft"], axis=-1),
        node("Flatten", ["soft"], ["y"]),
    ]
    with pytest.raises(SqueezekitError, match="not one over classes at the end of the graph"):
        read_onnx_graph(written(tmp_path / "d.onnx", padded, {"k": (5, 3, 3, 3), "c": (4, 5, 1, 1), **NOTHING}))
    with pytest.raises(SqueezekitError, match="not one over classes at the end of the graph"):
        nodes = [node("Conv", ["x", "k"], ["a"]), node("Softmax", ["a"], ["last"], axis=1), *HEAD]
        read_onnx_graph(written(tmp_path / "c.onnx", nodes, CONSTANTS))


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "mobilenetv2_050", "squeezenet-cifar", "squeezenet-fast"])
def test_what_torch_exports_is_read(tmp_path, name):
    torch.manual_seed(0)
    network = network_config(name).build().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # That by tracing leaves arithmetic with constants where channels are padded.
        traced = {"dynamo": True, "external_data": False} if name == "resnet20" else {"dynamo": False, "opset_version": 18}
        torch.onnx.export(network, (torch.rand(2, 3, 32, 32),), tmp_path / "g.onnx", **traced)
    graph = check(tmp_path / "g.onnx")
    assert len(graph.weights) > 10
    # And computed in integers, but for bypasses of Fire modules, where ReLU stands before the sum.
    problem = no_integer_form(build_graph(graph, (0.5,), (0.25,)))
    assert ("(add of maps" in problem) if name == "squeezenet-fast" else problem is None


def test_what_cannot_be_read_is_named(tmp_path):
    for nodes, said in (
        (
            [node("Conv", ["x", "k"], ["a"]), node("Sigmoid", ["a"], ["last"], name="gate")],
            r"node 'gate' \(Sigmoid\) cannot be read",
        ),
        ([node("Conv", ["x", "k"], ["last"], strides=[1, 2])], r"node 'number 1' \(Conv\) has a window, a stride .* not square"),
        ([node("Conv", ["x", "x"], ["last"])], "takes 'x', which is no constant"),
        ([node("Conv", ["x", "k"], ["a"]), node("Mul", ["a", "a"], ["last"])], "computes with two maps"),
        ([node("MaxPool", ["x"], ["last"])], r"\(MaxPool\) has fields that are missing"),
        ([node("Conv", ["x", "k"], ["last"], strides=[0, 0])], r"\(Conv\) has fields that are missing or do not fit"),
        ([node("Conv", ["x"], ["last"])], r"\(Conv\) has fields that are missing"),
        ([node("Add", ["x", "x"], ["last"])], r"\(Gemm\) has weights of the shape \(4, 5\) where \(4, 3\) is needed"),
        ([node("Relu", ["k"], ["a"]), node("Conv", ["x", "a"], ["last"])], r"\(Relu\) computes with constants alone"),
    ):
        with pytest.raises(SqueezekitError, match=said):
            read_onnx_graph(written(tmp_path / "g.onnx", [*nodes, *HEAD], CONSTANTS))


def test_a_graph_that_is_no_classifier_of_images_is_refused(tmp_path):
    nodes = [node("Conv", ["x", "k"], ["last"]), *HEAD]
    path = written(tmp_path / "g.onnx", nodes, CONSTANTS, shape=["n", 3, "h", "w"])
    with pytest.raises(SqueezekitError, match=r"takes images of \? × \? pixels; give --image-size"):
        read_onnx_graph(path)
    assert check(path, image_size=20).image_size == 20
    with pytest.raises(SqueezekitError, match=r"takes \?×7; give a graph"):
        read_onnx_graph(written(tmp_path / "g.onnx", nodes, CONSTANTS, shape=["n", 7]))
    with pytest.raises(SqueezekitError, match="does not end in the logits"):
        read_onnx_graph(written(tmp_path / "g.onnx", [node("Conv", ["x", "k"], ["y"])], {"k": (5, 3, 3, 3)}))
    (tmp_path / "g.onnx").write_bytes(b"\x08\x01 nothing of the kind")
    with pytest.raises(SqueezekitError, match="no ONNX|no graph"):
        read_onnx_graph(tmp_path / "g.onnx")
    (tmp_path / "g.onnx").write_bytes(brightness())
    with pytest.raises(SqueezekitError, match="was made by squeezekit export"):
        read_onnx_graph(tmp_path / "g.onnx")
