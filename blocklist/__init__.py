"""Signed, versioned distribution of a URL blocklist."""

__version__ = "0.1.0"
