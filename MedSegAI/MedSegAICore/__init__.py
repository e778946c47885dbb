"""What both modules share: volumes and label maps with their geometry, files, nodes and errors."""

VERSION = "0.1.0"  # of the program; in Slicer there is no installed package that could be asked
