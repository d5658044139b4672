"""Files keep the names of their time, and are read with those of today."""

from squeezekit.networks import NETWORKS, network_config
from squeezekit.networks.stored_names import as_stored, network_as_read


def test_a_file_of_the_first_fast_is_read_as_its_network():
    old = network_config("squeezenet-fast")
    stored = as_stored(old.model_dump())
    assert stored["name"] == "fast"
    read = network_as_read(stored)
    assert NETWORKS[read["name"]][0].model_validate(read) == old


def test_todays_fast_keeps_its_name():
    fields = network_config("fast").model_dump()
    assert as_stored(fields)["name"] == network_as_read(fields)["name"] == "fast"
