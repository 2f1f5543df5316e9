"""``python -m pipeline`` is the command ``serpline``."""

import sys

from pipeline.cli.main import main

sys.exit(main())
