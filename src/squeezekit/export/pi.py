"""A folder for a Raspberry Pi, or any small computer with Linux: the `.sqz` file, what to install, and a service."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.quantizer import no_integer_form
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.pretrained.files import model_path
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Presented
from squeezekit.system.version import version

# As a device reads at most.
MODEL, MOST_BYTES = "model.sqz", 1 << 24
README = """# A classifier for a Raspberry Pi

`pip wheel --no-deps -w dist ./device`, in a clone of squeezekit, makes the wheel that requirements.txt names: copy it from `dist`
into this folder. Then on the Pi, in this folder, with 64-bit Linux and Python 3.11 or newer:

```sh
python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
.venv/bin/squeezekit-device predict model.sqz photo.jpg
.venv/bin/squeezekit-device serve model.sqz
```

`classifier.service` keeps the service running: put this folder at /opt/classifier and the file into /etc/systemd/system, then
`systemctl enable --now classifier`.
"""
# A file, since the name belongs to nobody on PyPI yet: whoever took it would run code on the device.
WHEEL = "./squeezekit_device-{version}-py3-none-any.whl\n"
SERVICE = """[Unit]
Description=Classifies pictures that are posted to http://127.0.0.1:8000/v1/classify

[Service]
ExecStart=/opt/classifier/.venv/bin/squeezekit-device serve /opt/classifier/model.sqz
DynamicUser=yes
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class PiExport(Presented):
    """What was written; `bytes` are those of the model. Nothing is measured: `validation` is empty."""

    folder: str
    bytes: int
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result in sentences for a reader."""
        return [f"{self.folder}: {MODEL} of {self.bytes:,} bytes; copy the folder to the device, its README.md says how to go on"]


def export_pi(model: str | Path, out: str | Path) -> PiExport:
    """Write a `.sqz` file, or a pretrained model, into the folder `out` with what a device without PyTorch needs beside it.

    An earlier export in `out` is replaced whole. Raises SqueezekitError for a run, for a network that has no integer form, for a
    file that does not state its activation ranges, and when anything else is in `out`.
    """
    path, out = model_path(model), expanded(out)
    if path.is_dir():
        raise SqueezekitError(f"{model}: is a run; compress it to a .sqz file first, and give that")
    loaded = load_model(path)
    if no_integer_form(loaded.network) is None and read_sqz(path).activation_ranges is None:
        raise SqueezekitError(f"{model}: has no activation ranges, which integers need; compress its run again")
    # What cannot be computed in integers is found out here, not on the device.
    integer_plan(loaded)
    wheel = WHEEL.format(version=version())
    files = {"requirements.txt": wheel, "classifier.service": SERVICE, "README.md": README}
    if out.exists() and (not out.is_dir() or {each.name for each in out.iterdir()} - {MODEL, *files}):
        raise SqueezekitError(f"-o {out}: is there and holds other things than an export; name a new folder")
    data = read_outside_bytes(path, MOST_BYTES)
    atomic_io.write_folder(out, {MODEL: data, **files})
    return PiExport(str(out), len(data), {})
