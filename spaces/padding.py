"""Where the zeros around an input stand."""


def same_padding(kernel: int, side: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one axis: as few as give ceil(side / stride), the odd one behind.

    TensorFlow calls it SAME and pads so by itself; what is padded otherwise, TFLite copies into a second buffer.
    """
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
