"""Encoders: one file each, named as users type it."""

KIND = "encoder"
