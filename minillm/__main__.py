"""`python -m minillm`: the same as the command `minillm`."""

import sys

from minillm.cli import main

sys.exit(main())
