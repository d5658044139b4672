"""`python -m squeezekit_device`."""

import sys

from .device.command import main

sys.exit(main())
