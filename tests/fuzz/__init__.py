"""Fuzz targets for the decoder and for whole commands."""
