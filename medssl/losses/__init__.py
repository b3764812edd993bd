"""Losses of fine-tuning: one file each, named as users type it."""

KIND = "loss"
