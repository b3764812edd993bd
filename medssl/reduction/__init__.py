"""Reduction strategies: one file each, named as users type it."""

KIND = "reduction strategy"
