"""``python -m pycnn`` is the command ``pycnn``."""

import sys

from .cli import main

sys.exit(main())
