"""Looking inside a network: what its maps, neurons and outputs have learned, and what that makes of an image.

Every function works on any `pycnn.Network` and never changes it. Images are float arrays ``(C, H, W)`` with C 1 or 3, values in
[0, 1] where nothing else is said.
"""
