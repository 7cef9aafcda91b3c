"""The commands that `pycnn` understands, a file for each family of them.

Such a file has ``add_to(command)``, which declares its arguments, and a function for each command that does it:
``run(args) -> dict``, which prints for people and returns what ``--json`` prints.
"""
