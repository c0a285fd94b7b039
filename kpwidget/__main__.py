"""``python -m kpwidget`` is the command ``kpwidget``."""

import sys

from kpwidget.cli import main

if __name__ == "__main__":
    sys.exit(main())
