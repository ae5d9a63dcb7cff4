"""The specification, bit for bit, in NumPy. Imports none of the other packages."""

__version__ = "0.1.0"
