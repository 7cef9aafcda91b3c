/* All kernels, in the order they build on each other, and the table of this variant. */
#include "common.h"
#include "vector_math.h"
#include "stream.h"
#include "transpose.h"
#include "brgemm.h"
#include "elementwise.h"
#include "reorder.h"
#include "pool.h"
#include "plane_pool.h"
#include "lp_pool.h"
#include "unpool.h"
#include "resample.h"
#include "permute.h"
#include "conv_geometry.h"
#include "conv_plain.h"
#include "conv_columns.h"
#include "conv_lanes.h"
#include "conv.h"
#include "conv_weights.h"
#include "lanewise.h"
#include "grouped.h"
#include "winograd.h"
#include "winograd_weights.h"
#include "convolution.h"
#include "planes.h"
#include "dense.h"
#include "connected.h"
#include "local.h"
#include "scale_maps.h"
#include "bias.h"
#include "random.h"
#include "batch_norm.h"
#include "embedding.h"
#include "group_norm.h"
#include "local_response.h"
#include "prelu.h"
#include "pointwise.h"
#include "rbf.h"
#include "affine_grid.h"
#include "grid_sample.h"
#include "softmax.h"
#include "capsules.h"
#include "routing.h"
#include "losses.h"
#include "optimizers.h"

const pycnn_kernels PYCNN_VARIANT = {
    .isa = PYCNN_ISA_NAME,
    .lanes = V,
    .real_size = sizeof(real),
    .import_tensor = import_tensor,
    .export_tensor = export_tensor,
    .reorder = reorder,
    .conv_cycles = conv_cycles,
    .conv_packed_size = conv_packed_size,
    .conv_pack = conv_pack,
    .conv_fuses_pool = conv_fuses_pool,
    .conv_forward = conv_forward,
    .conv_backward_data = conv_backward_data,
    .conv_partial_size = conv_partial_size,
    .conv_backward_weights = conv_backward_weights,
    .conv_reduce_weights = conv_reduce_weights,
    .planes_forward = planes_forward,
    .planes_backward_data = planes_backward_data,
    .planes_backward_weights = planes_backward_weights,
    .dense_forward = dense_forward,
    .dense_backward_data = dense_backward_data,
    .dense_backward_weights = dense_backward_weights,
    .max_pool_forward = max_pool_forward,
    .max_pool_backward = max_pool_backward,
    .avg_pool_forward = avg_pool_forward,
    .avg_pool_backward = avg_pool_backward,
    .max_pool_planes = max_pool_planes,
    .max_pool_planes_backward = max_pool_planes_backward,
    .avg_pool_planes = avg_pool_planes,
    .avg_pool_planes_backward = avg_pool_planes_backward,
    .lp_pool_forward = lp_pool_forward,
    .lp_pool_backward = lp_pool_backward,
    .max_unpool_backward = max_unpool_backward,
    .resample = resample,
    .permute = permute,
    .connected_forward = connected_forward,
    .connected_backward_data = connected_backward_data,
    .connected_backward_weights = connected_backward_weights,
    .softmax_pool_forward = softmax_pool_forward,
    .softmax_pool_backward_data = softmax_pool_backward_data,
    .softmax_pool_backward_weights = softmax_pool_backward_weights,
    .local_forward = local_forward,
    .local_backward_data = local_backward_data,
    .local_backward_weights = local_backward_weights,
    .scale_maps_forward = scale_maps_forward,
    .scale_maps_backward_data = scale_maps_backward_data,
    .scale_maps_backward_weights = scale_maps_backward_weights,
    .bias_forward = bias_forward,
    .bias_backward_weights = bias_backward_weights,
    .dropout = dropout,
    .gaussian_noise = gaussian_noise,
    .batch_norm_partial_size = batch_norm_partial_size,
    .batch_norm_sums = batch_norm_sums,
    .batch_norm_statistics = batch_norm_statistics,
    .batch_norm_running = batch_norm_running,
    .batch_norm_known = batch_norm_known,
    .batch_norm_forward = batch_norm_forward,
    .batch_norm_backward_sums = batch_norm_backward_sums,
    .batch_norm_backward_weights = batch_norm_backward_weights,
    .batch_norm_backward_data = batch_norm_backward_data,
    .batch_norm_fold = batch_norm_fold,
    .embedding_forward = embedding_forward,
    .embedding_backward = embedding_backward,
    .group_norm_statistics_size = group_norm_statistics_size,
    .group_norm_forward = group_norm_forward,
    .group_norm_backward_data = group_norm_backward_data,
    .group_norm_partial_size = group_norm_partial_size,
    .group_norm_backward_weights = group_norm_backward_weights,
    .group_norm_reduce_weights = group_norm_reduce_weights,
    .local_response_forward = local_response_forward,
    .local_response_backward = local_response_backward,
    .prelu_forward = prelu_forward,
    .prelu_partial_size = prelu_partial_size,
    .prelu_backward = prelu_backward,
    .prelu_reduce_weights = prelu_reduce_weights,
    .pointwise_forward = pointwise_forward,
    .pointwise_backward = pointwise_backward,
    .rbf_forward = rbf_forward,
    .rbf_backward_data = rbf_backward_data,
    .rbf_backward_weights = rbf_backward_weights,
    .affine_grid_forward = affine_grid_forward,
    .affine_grid_backward = affine_grid_backward,
    .grid_sample_forward = grid_sample_forward,
    .grid_sample_backward_data = grid_sample_backward_data,
    .grid_sample_backward_grid = grid_sample_backward_grid,
    .activation_forward = activation_forward,
    .activation_backward = activation_backward,
    .sum = sum,
    .multiply = multiply,
    .fill = fill,
    .copy_blocks = copy_blocks,
    .traffic = traffic,
    .softmax_forward = softmax_forward,
    .softmax_backward = softmax_backward,
    .squash_forward = squash_forward,
    .squash_backward = squash_backward,
    .length_forward = length_forward,
    .length_backward = length_backward,
    .mask_forward = mask_forward,
    .mask_backward = mask_backward,
    .route_forward = route_forward,
    .route_backward = route_backward,
    .route_gradients = route_gradients,
    .softmax_cross_entropy = softmax_cross_entropy,
    .mean_squared_error = mean_squared_error,
    .binary_cross_entropy = binary_cross_entropy,
    .distance_loss = distance_loss,
    .margin_loss = margin_loss,
    .total_loss = total_loss,
    .sgd = sgd,
    .sdlm = sdlm,
    .adam = adam,
    .rmsprop = rmsprop,
    .clip_norm = clip_norm,
};
