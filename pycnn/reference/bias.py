"""A bias for each value of a sample."""


def bias_forward(x, bias):
    """y[n, c, p] = x[n, c, p] + bias[c, p]"""
    return x + bias


def bias_backward(dy):
    """dx[n, c, p] = dy[n, c, p],   dbias[c, p] = sum_n dy[n, c, p]"""
    return dy.copy(), dy.sum(0)
