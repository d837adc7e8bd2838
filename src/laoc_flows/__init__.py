"""laoc-flows: amorphous Li-Al-O-Cl electrolytes from one campaign file to a queried store."""

from importlib.metadata import version

__version__ = version("laoc-flows")
