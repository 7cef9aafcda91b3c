"""Where data sets that were made or fetched are kept for the next time."""

import os
import sys


def cache_folder(name):
    """The folder of a data set: in the one that PYCNN_DATA names, else in ``pycnn`` among the user's caches.

    It may not exist yet.
    """
    root = os.environ.get("PYCNN_DATA")
    if not root:
        usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(usual), "pycnn")
    return os.path.join(root, name)
