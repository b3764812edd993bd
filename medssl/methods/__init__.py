"""Self-supervised methods: one file each, named as users type it."""

KIND = "pretraining method"
