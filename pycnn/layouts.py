"""Where a convolution has so few channels that an array is best left as it comes."""

FEW_CHANNELS = 4            # of a convolution's input
COLUMNS_EFFICIENCY = 0.6    # of the peak, where lanes are full columns, of what is reached where they are full channels


def filled(lanes, count):
    """The part of the lanes in use when `count` things are put into vectors."""
    return count / (-(-count // lanes) * lanes)


def reads_plain(channels, groups):
    """Whether a convolution with lanes of channels reads so few better from PLAIN."""
    return groups == 1 and channels <= FEW_CHANNELS


def writes_plain(lanes, channels, groups, width, stride=1):
    """Whether a pass to `channels` maps, `width` columns wide, should write PLAIN, with lanes of columns, rather than
    CHANNELS. `stride` is that of its columns if it is a backward pass, whose columns fall into as many phases."""
    return groups == 1 and COLUMNS_EFFICIENCY * filled(lanes, -(-width // stride)) > filled(lanes, channels)
