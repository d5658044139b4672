"""A graph that could read other files, never end or fill the memory is refused before a runtime sees it."""

import pytest

from squeezekit.inference import onnx_file
from squeezekit.inference.onnx_file import BrokenOnnx, check_onnx, metadata_of
from tests.fixtures.onnx_graphs import (
    as_many_values_as_a_pixel_says,
    brightness,
    constant,
    external,
    graph_bytes,
    loop_for_ever,
    node,
    onnx,
    two_branches,
)


def test_a_graph_like_ours_passes():
    content = brightness()
    check_onnx(content)
    assert set(metadata_of(content)) == {"squeezekit"}


@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd", "/dev/zero", "*/_ORT_MEM_ADDR_/*"])
def test_weights_in_other_files_are_refused(location):
    tensor = external("w", location)
    with pytest.raises(BrokenOnnx, match="takes weights from other files"):
        check_onnx(graph_bytes([node("Cast", ["w"], to=1)], [tensor]))
    # As an attribute of an operator too.
    with pytest.raises(BrokenOnnx, match="takes weights from other files"):
        check_onnx(graph_bytes([node("Constant", [], ["w"], value=tensor), node("Cast", ["w"], to=1)]))


def test_a_location_alone_is_enough_to_be_refused():
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    with pytest.raises(BrokenOnnx, match="other files"):
        check_onnx(graph_bytes([], [tensor]))


@pytest.mark.parametrize("graph", [loop_for_ever, two_branches])
def test_loops_and_branches_are_refused(graph):
    with pytest.raises(BrokenOnnx, match="loops, branches"):
        check_onnx(graph())


@pytest.mark.parametrize("operator", ["NonZero", "RandomNormal", "StringSplit", "No\x1b[31mSuch\n", "x" * 10_000])
def test_other_operators_are_refused(operator):
    with pytest.raises(BrokenOnnx, match=r"^[^\x00-\x1f]+ is none that squeezekit writes$"):
        check_onnx(graph_bytes([node(operator, ["images"])]))


def test_operators_of_somebody_else_are_refused():
    with pytest.raises(BrokenOnnx, match="not in the standard"):
        check_onnx(graph_bytes([node("Relu", ["images"], domain="com.example")]))
    function = onnx.helper.make_function("own", "F", ["x"], ["y"], [node("Relu", "x", "y")], [onnx.helper.make_opsetid("", 18)])
    with pytest.raises(BrokenOnnx, match="functions"):
        check_onnx(graph_bytes([node("Relu", ["images"])], functions=[function]))


def test_a_shape_that_depends_on_the_picture_is_refused():
    with pytest.raises(BrokenOnnx, match="'ConstantOfShape' makes depends on the picture"):
        check_onnx(as_many_values_as_a_pixel_says())


def test_no_order_of_operators_hides_that_a_shape_depends_on_the_picture():
    content = onnx.ModelProto.FromString(as_many_values_as_a_pixel_says())
    nodes = list(content.graph.node)
    del content.graph.node[:]
    content.graph.node.extend([*nodes[3:], *nodes[:3]])
    with pytest.raises(BrokenOnnx, match="do not stand in the order in which they run"):
        check_onnx(content.SerializeToString())


def test_a_shape_that_depends_on_the_number_of_pictures_is_not():
    nodes = [node("Shape", ["images"], ["shape"]), node("ConstantOfShape", ["shape"], ["zeros"]), node("Identity", ["zeros"])]
    check_onnx(graph_bytes(nodes))


def test_more_operators_than_any_network_has():
    with pytest.raises(BrokenOnnx, match="10,000 operators"):
        check_onnx(graph_bytes([node("Relu", ["images"])] * 10_001))


@pytest.mark.parametrize("parts", [b"\x72\x00", b"\x3a\x04\x0a\x00\x2a\x00", b"\x3a\x06\x0a\x04\x0a\x00\x0a\x00"])
def test_millions_of_parts_that_hold_nothing(parts, monkeypatch):
    monkeypatch.setattr(onnx_file, "MAX_FIELDS", 1000)
    for looked_at in (check_onnx, metadata_of):
        with pytest.raises(BrokenOnnx, match="more than 1,000 parts"):
            looked_at(parts * 1001)


def test_what_is_cut_short_or_is_something_else():
    content = brightness()
    for length in range(1, len(content), 3):
        try:
            check_onnx(content[:length])
            metadata_of(content[:length])
        except BrokenOnnx as error:
            assert "damaged or cut short" in str(error) or "no graph" in str(error)
    for junk in (b"", b"\x08" * 1000, b"\xff" * 1000, b"\x3a\xff\xff\xff\xff\x0f", b"\x3b\x3c"):
        with pytest.raises(BrokenOnnx):
            check_onnx(junk)


def test_a_list_of_weights_stays_within_the_file():
    # A name that is no text.
    tensor = constant("w", [1.0])
    assert b"\x42\x01w" in tensor.SerializeToString()
    content = graph_bytes([node("Relu", ["images"])]).replace(b"Relu", b"\xff\xfe\xfd\xfc")
    with pytest.raises(BrokenOnnx, match="damaged"):
        check_onnx(content)
