"""The layouts of convolutions: lanes of samples or of channels, and where there are so few channels on one side that an array
there is best left PLAIN."""

from ._kernels import BACKWARD_DATA, CHANNELS, PLAIN, SAMPLES

FEW_CHANNELS = 4            # of a convolution's input
PLAIN_EFFICIENCY = 0.6      # what a pass to PLAIN reaches, its lanes full, where one to CHANNELS reaches 1


def filled(lanes, count):
    """The part of the lanes in use when `count` things are put into vectors."""
    return count / (-(-count // lanes) * lanes)


def reads_plain(channels, groups):
    """Whether a convolution with lanes of channels reads so few better from PLAIN."""
    return groups == 1 and channels <= FEW_CHANNELS


def writes_plain(lanes, sources, targets, groups):
    """Whether a pass from CHANNELS to so few targets is better off with lanes of sources, writing PLAIN
    (csrc/kernels/conv_lanes.h), than with lanes of targets."""
    return groups == 1 and PLAIN_EFFICIENCY * filled(lanes, sources) > filled(lanes, targets)


def x_layout_of_pass(lanes, conv, which):
    """PLAIN or CHANNELS: the layout of x (or dx) in a pass whose y has lanes of channels."""
    _, c, k, groups = conv[:4]
    few = writes_plain(lanes, k, c, groups) if which == BACKWARD_DATA else reads_plain(c, groups)
    return PLAIN if few else CHANNELS


def pass_cycles(kernels, conv, which):
    """About how many cycles a pass takes with lanes of samples, and with lanes of channels."""
    x_layout = x_layout_of_pass(kernels.lanes, conv, which)
    return kernels.conv_cycles(conv, SAMPLES, SAMPLES, which), kernels.conv_cycles(conv, CHANNELS, x_layout, which)


def lanes_of_pass(kernels, conv, which):
    """SAMPLES or CHANNELS, whichever takes a pass less time."""
    samples, channels = pass_cycles(kernels, conv, which)
    return SAMPLES if samples < channels else CHANNELS


def pass_from_plain(lanes, sources, targets, groups, width):
    """The layouts (source, target) of a pass from an array that could be had in any layout, without lanes of samples.

    ==========  ==========  =====================================================================================
    CHANNELS    PLAIN       the targets' lanes would be mostly empty, those of the sources are full
    PLAIN       PLAIN       neither are full, but rows of `width` columns (csrc/kernels/conv_columns.h)
    CHANNELS    CHANNELS    else
    ==========  ==========  =====================================================================================
    """
    of_columns, of_sources = filled(lanes, width), filled(lanes, sources)
    if groups > 1 or PLAIN_EFFICIENCY * max(of_columns, of_sources) <= filled(lanes, targets):
        return CHANNELS, CHANNELS
    return (CHANNELS if of_sources >= of_columns else PLAIN), PLAIN
