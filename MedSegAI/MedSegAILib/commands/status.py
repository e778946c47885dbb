"""Exit statuses of ``medsegai``, the same in and outside Slicer."""

DONE = 0
SOME_FAILED = 1
USAGE = 2
CANCELLED = 130  # what shells report for a program that Ctrl-C ended
