"""Nothing is loaded yet."""
