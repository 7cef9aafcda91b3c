"""Pictures by matplotlib: curves of a training, confusion matrices, sheets of images, maps and filters.

A function ``draw_...(part, ...)`` draws on a figure or subfigure of matplotlib's.
"""

from .canvas import colour_map, new_figure, picture_path, write_figure
from .confusion import draw_confusion
from .curves import draw_curves
from .sheets import draw_filters, draw_image, draw_images, rows_of_images, sheet
from .training import training_figure

__all__ = ["colour_map", "draw_confusion", "draw_curves", "draw_filters", "draw_image", "draw_images", "new_figure",
           "picture_path", "rows_of_images", "sheet", "training_figure", "write_figure"]
