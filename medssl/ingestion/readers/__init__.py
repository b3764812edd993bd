"""Readers: one file per input format, recognised by content."""

KIND = "reader"
