"""``python -m MedSegAILib.commands`` is the ``medsegai`` command where it is not installed."""

import sys

from MedSegAILib.commands.main import main

sys.exit(main())
