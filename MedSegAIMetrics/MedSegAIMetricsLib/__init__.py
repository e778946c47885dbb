"""Measures that compare segments; needs nothing that Slicer does not bundle."""
