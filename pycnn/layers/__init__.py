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
from .local import LocallyConnected
from .merge import Add, Concat, Multiply
from .norm import BatchNorm
from .pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, LPPool, MaxPool, MaxUnpool, SumPool
from .random import Dropout, GaussianNoise
from .rbf import RBF
from .resample import AdaptiveAvgPool, Crop, Pad, Upsample
from .reshape import Flatten, Permute, Reshape
from .softmax import LogSoftmax, Softmax
from .spatial_transformer import AffineGrid, GridSample, SpatialTransformer
from .subsample import SoftMaxPool, Subsample

__all__ = [
    "AdaptiveAvgPool",
    "Add",
    "AffineGrid",
    "AvgPool",
    "BatchNorm",
    "Bias",
    "Concat",
    "Connect",
    "Conv",
    "ConvTranspose",
    "Crop",
    "Dense",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GridSample",
    "LPPool",
    "Lambda",
    "Layer",
    "LeakyReLU",
    "LocallyConnected",
    "LogSoftmax",
    "MaxPool",
    "MaxUnpool",
    "Multiply",
    "Pad",
    "Permute",
    "RBF",
    "ReLU",
    "Reshape",
    "ScaledTanh",
    "Sigmoid",
    "SoftMaxPool",
    "Softmax",
    "Softplus",
    "SpatialTransformer",
    "Subsample",
    "SumPool",
    "Tanh",
    "Upsample",
    "Add", "AvgPool", "BatchNorm", "Bias", "Concat", "Connect", "Conv", "ConvTranspose", "Dense", "ELU",
    "Embedding", "Flatten", "GlobalAvgPool", "GlobalMaxPool", "Layer", "LeakyReLU", "LocallyConnected",
    "LogSoftmax", "MaxPool", "Multiply", "RBF", "ReLU", "ScaledTanh", "Sigmoid", "SoftMaxPool", "Softmax",
    "Softplus", "Subsample", "SumPool", "Tanh",
]
