"""The table of a network's layers, and how it shows itself."""

from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table


def test_it_is_a_line_and_a_table_of_its_layers():
    table = layer_table(network_config("squeezenet-cifar"))
    assert repr(table) == "LayerTable(layers=13, parameters=716,602, macs=50,429,952)"
    html = table._repr_html_()
    assert html.count("<tr>") == 3 + 1 + 13 and "squeeze 64, expand 256+256" in html
