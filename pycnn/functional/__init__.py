"""Every kernel as a function: NumPy arrays in, NumPy arrays out.

Tensors are ``(N, C, *S)``: samples, channels, and one, two or three spatial axes. Any real array-like will do, in any
memory order. If an input array is float64 the arithmetic and the results are float64, else float32. All arguments are
checked before any work (indices of max pooling while they are read): TypeError is raised for what is of the wrong kind,
ValueError for what is out of range or does not belong together. An empty batch gives empty results. The results do not
depend on the number of threads.

A call lays out a program for its shapes: arrays come in through imports that bring them into the layout of the
kernels, and go out through exports. Recent programs are kept, so that a loop over equal shapes lays out nothing.
"""

from .bias import bias_backward, bias_forward
from .capsules import (
    capsules_backward,
    capsules_forward,
    length_backward,
    length_forward,
    mask_backward,
    mask_forward,
    primary_capsules_backward,
    primary_capsules_forward,
    squash_backward,
    squash_forward,
)
from .convolution import (
    conv_backward_data,
    conv_backward_weights,
    conv_forward,
    conv_transpose_backward_data,
    conv_transpose_backward_weights,
    conv_transpose_forward,
)
from .dense import (
    dense_backward_data,
    dense_backward_weights,
    dense_forward,
)
from .elementwise import (
    activation_backward,
    activation_forward,
    add,
    add_backward,
    concat,
    concat_backward,
    log_softmax,
    log_softmax_backward,
    multiply,
    multiply_backward,
    softmax,
    softmax_backward,
)
from .embedding import (
    embedding_backward,
    embedding_forward,
)
from .local import (
    local_conv_backward,
    local_conv_forward,
)
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    distance_loss,
    margin_loss,
    mean_squared_error,
    softmax_cross_entropy,
)
from .normalisation import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
)
from .optimizers import (
    adam_update,
    rmsprop_update,
    sgd_update,
)
from .pointwise import (
    pointwise_backward,
    pointwise_forward,
    prelu_backward,
    prelu_forward,
)
from .pooling import (
    avg_pool_backward,
    avg_pool_forward,
    global_avg_pool_backward,
    global_avg_pool_forward,
    global_max_pool_backward,
    global_max_pool_forward,
    lp_pool_backward,
    lp_pool_forward,
    max_pool_backward,
    max_pool_forward,
    max_unpool_backward,
    max_unpool_forward,
)
from .random import (
    dropout,
    gaussian_noise,
)
from .resampling import (
    adaptive_avg_pool_backward,
    adaptive_avg_pool_forward,
    crop_backward,
    crop_forward,
    pad_backward,
    pad_forward,
    permute_backward,
    permute_forward,
    upsample_backward,
    upsample_forward,
)
from .sample_norm import (
    group_norm_backward,
    group_norm_forward,
    instance_norm_backward,
    instance_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
    local_response_norm_backward,
    local_response_norm_forward,
)
from .sampling import (
    affine_grid_backward,
    affine_grid_forward,
    grid_sample_backward,
    grid_sample_forward,
)
from .subsampling import (
    rbf_backward,
    rbf_forward,
    softmax_pool_backward,
    softmax_pool_forward,
    subsample_backward,
    subsample_forward,
)

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_update",
    "adaptive_avg_pool_backward",
    "adaptive_avg_pool_forward",
    "add",
    "add_backward",
    "affine_grid_backward",
    "affine_grid_forward",
    "avg_pool_backward",
    "avg_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "bias_backward",
    "bias_forward",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "capsules_backward",
    "capsules_forward",
    "concat",
    "concat_backward",
    "conv_backward_data",
    "conv_backward_weights",
    "conv_forward",
    "conv_transpose_backward_data",
    "conv_transpose_backward_weights",
    "conv_transpose_forward",
    "crop_backward",
    "crop_forward",
    "dense_backward_data",
    "dense_backward_weights",
    "dense_forward",
    "distance_loss",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "gaussian_noise",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "global_max_pool_backward",
    "global_max_pool_forward",
    "grid_sample_backward",
    "grid_sample_forward",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "length_backward",
    "length_forward",
    "local_conv_backward",
    "local_conv_forward",
    "local_response_norm_backward",
    "local_response_norm_forward",
    "log_softmax",
    "log_softmax_backward",
    "lp_pool_backward",
    "lp_pool_forward",
    "margin_loss",
    "mask_backward",
    "mask_forward",
    "max_pool_backward",
    "max_pool_forward",
    "max_unpool_backward",
    "max_unpool_forward",
    "mean_squared_error",
    "multiply",
    "multiply_backward",
    "pad_backward",
    "pad_forward",
    "permute_backward",
    "permute_forward",
    "pointwise_backward",
    "pointwise_forward",
    "prelu_backward",
    "prelu_forward",
    "primary_capsules_backward",
    "primary_capsules_forward",
    "rbf_backward",
    "rbf_forward",
    "rmsprop_update",
    "sgd_update",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_pool_backward",
    "softmax_pool_forward",
    "squash_backward",
    "squash_forward",
    "subsample_backward",
    "subsample_forward",
    "upsample_backward",
    "upsample_forward",
]
