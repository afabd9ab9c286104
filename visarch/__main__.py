"""``python -m visarch``, which is also what ``accelerate launch -m`` and ``torchrun -m`` start."""

import sys

from visarch.cli import main

sys.exit(main())
