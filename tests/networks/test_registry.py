"""Networks by name, and one of a user's own all the way through."""

import pytest
import torch

import squeezekit
from squeezekit import SqueezekitError
from squeezekit.compression.compress import compress
from squeezekit.export.onnx import export_onnx
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks import NetworkConfig, SqueezeNetConfig, list_networks, network_config, register_network
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.named_layers import named_layers
from squeezekit.networks.registry import NETWORKS
from squeezekit.search.search import search
from squeezekit.training.run_folder import Run
from tests.fixtures.own_network import OwnConfig

SMALL = {"limit": 300, "test": False, "precision": "fp32"}


@pytest.fixture(scope="module")
def own(shared):
    """A folder with `run`, trained, and `own.sqz`, quantized after training."""

    def make(folder):
        run = squeezekit.train("digits", network="own-network", out=folder / "run", epochs=2, image_size=16, **SMALL)
        compress(run.folder, folder / "own.sqz", max_drop=100, minutes=0)

    return shared("own", make)


def test_it_is_listed_and_built():
    assert "own-network" in list_networks() and {"fast", "resnet20"} < {*list_networks()}
    config = network_config("own-network", width=4, classes=3)
    assert config.build()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(SqueezekitError, match="width"):
        network_config("own-network", width=0)


def test_it_has_a_layer_table():
    table = layer_table(network_config("own-network"))
    assert [row.layer for row in table.layers] == ["conv1", "norm1", "conv2", "norm2", "norm3", "conv3", "linear"]
    assert table.layers[0].output == (8, 16, 16) and table.layers[0].macs == 16 * 16 * 8 * 27
    assert sum(row.parameters for row in table.layers) == table.parameters


def test_its_layers_are_found_with_their_normalization():
    network = network_config("own-network").build()
    found = {layer.name: layer.norm for layer in named_layers(network)}
    assert found == {"conv1": network.norm1, "conv2": network.norm2, "conv3": None, "linear": None}


@pytest.mark.slow
def test_it_is_trained_compressed_evaluated_and_exported(own, tmp_path):
    network = Run(own / "run").config.network
    assert (network.name, network.channels) == ("own-network", 1)
    file = read_sqz(own / "own.sqz")
    assert (own / "own.sqz").stat().st_size < 6000 and file.self_check.difference(file.build(), file.network) < 1e-3
    found = squeezekit.evaluate(own / "own.sqz", "digits", "validation")
    assert found.accuracy == pytest.approx(file.stages[-1].accuracy, abs=1e-4)
    export_onnx(own / "own.sqz", tmp_path / "own.onnx")
    same = squeezekit.evaluate(tmp_path / "own.onnx", "digits", "validation")
    assert same.accuracy == pytest.approx(found.accuracy, abs=1e-4)
    with pytest.raises(SqueezekitError, match=r"layer 'norm3' \(ChannelAffine\) has no integer form; export to ONNX instead"):
        integer_plan(load_model(own / "own.sqz"), "digits")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["run", "own.sqz"])
def test_training_goes_on_from_its_run_and_from_its_file(own, tmp_path, model):
    on = squeezekit.fine_tune(own / model, "digits", out=tmp_path / "on", epochs=1, learning_rate=1e-5, **SMALL)
    assert on.config.network.name == "own-network"
    untrained = on.checkpoint()["progress"]["untrained_loss"]
    assert untrained < 1.1 * Run(own / "run").summary["validation"]["loss"] + 0.1


@pytest.mark.slow
def test_a_search_varies_its_fields(tmp_path):
    (tmp_path / "space.toml").write_text("[network]\nwidth = [4]\n")
    found = search("digits", tmp_path / "study", space=str(tmp_path / "space.toml"), network="own-network", sampler="grid",
                   epochs=1, image_size=16, **SMALL)  # fmt: skip
    assert found.recommended == 0


class Taken(NetworkConfig):
    def build(self):
        return torch.nn.Identity()


@pytest.mark.parametrize("name", ["squeezenet-cifar", "report", "own-network", None])
def test_names_that_are_taken_are_refused(name):
    before = dict(NETWORKS)
    with pytest.raises(SqueezekitError, match="exists already"):
        register_network(Taken, name)
    assert before == NETWORKS


def test_the_same_again_is_none():
    assert register_network(OwnConfig) == "own-network"
    with pytest.raises(SqueezekitError, match="exists already"):
        register_network(SqueezeNetConfig)


def test_what_is_no_network_is_refused():
    class Unbuilt(NetworkConfig):
        pass

    with pytest.raises(SqueezekitError, match="no build"):
        register_network(Unbuilt, "unbuilt")
    with pytest.raises(SqueezekitError, match="not a subclass"):
        register_network(torch.nn.Module, "module")
    with pytest.raises(SqueezekitError, match="is no name"):
        register_network(Taken, "../mine")
