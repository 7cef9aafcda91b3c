"""Layers: declarations of shapes, parameters and the kernels to call."""

from .activations import ELU, SELU, LeakyReLU, ReLU, ScaledTanh, Sigmoid, Softplus, Tanh
from .arg_max import MaxPoolPlaces
from .base import Layer
from .bias import Bias
from .binary import Binary
from .capsules import Capsules, Length, Mask, PrimaryCapsules, Squash
from .connect import Connect
from .constant import Constant
from .conv import Conv
from .conv_transpose import ConvTranspose
from .dense import Dense
from .embedding import Embedding
from .function import Lambda
from .local import LocallyConnected
from .local_response import LocalResponseNorm
from .matmul import MatMul
from .merge import Add, Concat, Multiply
from .norm import BatchNorm
from .pointwise import GELU, Clip, HardSigmoid, HardSwish, Mish, SiLU, Softsign
from .pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, LPPool, MaxPool, MaxUnpool, SumPool
from .prelu import PReLU
from .random import Dropout, GaussianNoise
from .rbf import RBF
from .reduce import Reduce
from .resample import AdaptiveAvgPool, Crop, Pad, Upsample
from .reshape import Flatten, Permute, Reshape
from .resize import Resize
from .sample_norm import GroupNorm, InstanceNorm, LayerNorm
from .select import Expand, Slice, Take
from .softmax import LogSoftmax, Softmax
from .spatial_transformer import AffineGrid, GridSample, SpatialTransformer
from .subsample import SoftMaxPool, Subsample
from .unary import CELU, ThresholdedReLU, Unary
from .where import Where

__all__ = [
    "AdaptiveAvgPool", "Add", "AffineGrid", "AvgPool", "BatchNorm", "Bias", "Binary", "CELU", "Capsules", "Clip",
    "Concat", "Connect", "Constant", "Conv", "ConvTranspose", "Crop", "Dense", "Dropout", "ELU", "Embedding", "Expand",
    "Flatten", "GELU", "GaussianNoise", "GlobalAvgPool", "GlobalMaxPool", "GridSample", "GroupNorm", "HardSigmoid",
    "HardSwish", "InstanceNorm", "LPPool", "Lambda", "Layer", "LayerNorm", "LeakyReLU", "Length", "LocalResponseNorm",
    "LocallyConnected", "LogSoftmax", "Mask", "MatMul", "MaxPool", "MaxPoolPlaces", "MaxUnpool", "Mish", "Multiply",
    "PReLU", "Pad", "Permute", "PrimaryCapsules", "RBF", "ReLU", "Reduce", "Reshape", "Resize", "SELU", "ScaledTanh",
    "SiLU", "Sigmoid", "Slice", "SoftMaxPool", "Softmax", "Softplus", "Softsign", "SpatialTransformer", "Squash",
    "Subsample", "SumPool", "Take", "Tanh", "ThresholdedReLU", "Unary", "Upsample", "Where",
]
