"""medssl: from a folder of scans to a validated site model."""

__version__ = "0.1.0"
