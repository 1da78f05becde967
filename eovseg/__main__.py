"""`python -m eovseg`: the same as the console script `eovseg`."""

import sys

from eovseg.cli import main

sys.exit(main())
