"""`python -m squeezekit`."""

import sys

from squeezekit.cli import main

sys.exit(main())
