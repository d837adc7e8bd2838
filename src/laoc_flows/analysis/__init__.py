"""Pure functions from structures and trajectories to typed results."""

import lazy_loader

# The names are in `__init__.pyi`; each is imported when it is first used: the whole suite takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
