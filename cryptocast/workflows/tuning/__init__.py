"""Searching for better settings of a model kind, resumable, and adopting the best of them."""
