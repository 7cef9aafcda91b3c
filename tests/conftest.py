"""Every run draws the same examples, however long one takes."""

from hypothesis import settings

settings.register_profile("pycnn", deadline=None, derandomize=True)
settings.load_profile("pycnn")
