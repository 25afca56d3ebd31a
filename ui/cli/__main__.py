"""`python -m ui.cli`: the command line."""

import sys

from ui.cli.main import main

sys.exit(main())
