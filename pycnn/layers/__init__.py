"""Layers: declarations of shapes, parameters and the kernels to call."""

from .activations import ELU, LeakyReLU, ReLU, ScaledTanh, Sigmoid, Softplus, Tanh
from .base import Layer
from .bias import Bias
from .connect import Connect
from .conv import Conv
from .conv_transpose import ConvTranspose
from .dense import Dense
from .embedding import Embedding
from .function import Lambda
from .merge import Add, Concat, Multiply
from .norm import BatchNorm
from .pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool, SumPool
from .random import Dropout, GaussianNoise
from .rbf import RBF
from .reshape import Flatten
from .softmax import LogSoftmax, Softmax
from .spatial_transformer import AffineGrid, GridSample, SpatialTransformer
from .subsample import SoftMaxPool, Subsample

__all__ = [
    "Add", "AffineGrid", "AvgPool", "BatchNorm", "Bias", "Concat", "Connect", "Conv", "ConvTranspose", "Dense", "ELU",
    "Embedding", "Flatten", "GlobalAvgPool", "GlobalMaxPool", "GridSample", "Layer", "LeakyReLU", "LogSoftmax",
    "MaxPool", "Multiply", "RBF", "ReLU", "ScaledTanh", "Sigmoid", "SoftMaxPool", "Softmax", "Softplus",
    "SpatialTransformer", "Subsample", "SumPool", "Tanh",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Bias",
    "Concat",
    "Connect",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "ELU",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Lambda",
    "Layer",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool",
    "Multiply",
    "RBF",
    "ReLU",
    "ScaledTanh",
    "Sigmoid",
    "SoftMaxPool",
    "Softmax",
    "Softplus",
    "Subsample",
    "SumPool",
    "Tanh",
]
