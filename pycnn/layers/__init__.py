"""Layers: declarations of shapes, parameters and the kernels to call."""

from .activations import ELU, LeakyReLU, ReLU, ScaledTanh, Sigmoid, Softplus, Tanh
from .base import Layer
from .conv import Conv
from .dense import Dense
from .merge import Add, Concat, Multiply
from .pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from .reshape import Flatten
from .softmax import LogSoftmax, Softmax

__all__ = [
    "Add", "AvgPool", "Concat", "Conv", "Dense", "ELU", "Flatten", "GlobalAvgPool", "GlobalMaxPool", "Layer",
    "LeakyReLU", "LogSoftmax", "MaxPool", "Multiply", "ReLU", "ScaledTanh", "Sigmoid", "Softmax", "Softplus", "Tanh",
]
