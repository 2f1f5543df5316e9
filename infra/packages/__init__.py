"""The functions' zips: built from the locks, the same bytes every time (``python -m infra.packages``).

A zip is a layer of libraries, kept between builds, with this project's own modules on top.
"""
