"""Choosing the images to keep: metrics, selectors, and the account of a selection."""
