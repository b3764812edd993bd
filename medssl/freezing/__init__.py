"""Freezing schedules: one file each, named as users type it."""

KIND = "freezing schedule"
