"""Every kernel once more in plain NumPy, written for the reader: what tests and benchmarks compare with.

Tensors are ``(N, C, *S)``: samples, channels, and one, two or three spatial axes, as in ``(N, C, L)``,
``(N, C, H, W)`` and ``(N, C, D, H, W)``. Every function works in the dtype that it is given.

In the equations n is a sample, k an output channel, c an input channel; q is a position of the output, t a
tap of the kernel and p a position of the input. The last three count along every spatial axis at once.
Whatever slides a kernel or a window over a tensor loops over its taps, and treats all positions of a tap in
one NumPy expression.
"""

# ruff: noqa: F401

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
from .conv import (
    conv_backward_data,
    conv_backward_weights,
    conv_forward,
    conv_transpose_backward_data,
    conv_transpose_backward_weights,
    conv_transpose_forward,
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
from .embedding import embedding_backward, embedding_forward
from .geometry import conv_output_shape, conv_transpose_output_shape, pool_output_shape, resolve_padding
from .local import local_conv_backward, local_conv_forward
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
    group_norm_backward,
    group_norm_forward,
    instance_norm_backward,
    instance_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
    local_response_norm_backward,
    local_response_norm_forward,
)
from .optimizers import adam_update, rmsprop_update, sgd_update
from .pointwise import pointwise_backward, pointwise_forward, prelu_backward, prelu_forward
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
from .random import dropout, gaussian_noise
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
from .sampling import affine_grid_backward, affine_grid_forward, grid_sample_backward, grid_sample_forward
from .subsampling import (
    rbf_backward,
    rbf_forward,
    softmax_pool_backward,
    softmax_pool_forward,
    subsample_backward,
    subsample_forward,
)
