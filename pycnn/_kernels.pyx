# cython: language_level=3, boundscheck=False, wraparound=False
"""The only door between Python and C: programs, which are lists of kernel calls over memory that the caller laid out.

Nothing is checked here that a floor above has checked, and nothing is decided here: addresses are integers, layouts
and activations are the numbers of ``csrc/pycnn.h``, windows are ``(in, out, kernel, stride, dilation, before)`` with
three integers each (depth, height, width).
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset


cdef extern from "pycnn.h" nogil:
    ctypedef void *pycnn_slot
    ctypedef void *pycnn_index_slot
    ctypedef void *pycnn_state_slot
    enum: PYCNN_OK
    enum: PYCNN_NO_MEMORY
    ctypedef enum pycnn_layout:
        PYCNN_PLAIN
        PYCNN_SAMPLES
        PYCNN_CHANNELS
    ctypedef enum pycnn_activation_kind:
        pass
    ctypedef struct pycnn_activation:
        pycnn_activation_kind kind
        double alpha
    ctypedef enum pycnn_pointwise_kind:
        pass
    ctypedef struct pycnn_pointwise:
        pycnn_pointwise_kind kind
        double a, b
    ctypedef struct pycnn_response:
        int64_t size
        double alpha, beta, k
    ctypedef struct pycnn_window:
        int64_t *input "in"
        int64_t *out
        int64_t *kernel
        int64_t *stride
        int64_t *dilation
        int64_t *before
    ctypedef struct pycnn_conv:
        pycnn_window window
        int64_t n, c, k, groups
        int winograd
    ctypedef struct pycnn_connection:
        int64_t map, source
    ctypedef struct pycnn_connections:
        pycnn_window window
        int64_t n, c, k, count
        const pycnn_connection *connection
        const unsigned char *learns
    ctypedef struct pycnn_local:
        pycnn_window window
        int64_t n, c, k
        int64_t *sections
    ctypedef struct pycnn_routing:
        int64_t n, inputs, in_size, outputs, out_size, iterations
    ctypedef enum pycnn_divisor:
        PYCNN_TAPS
        PYCNN_TAPS_AND_PADDING
        PYCNN_ONE
    ctypedef enum pycnn_sample_mode:
        PYCNN_SAMPLE_NEAREST
        PYCNN_SAMPLE_LINEAR
        PYCNN_SAMPLE_CUBIC
    ctypedef enum pycnn_outside:
        PYCNN_OUTSIDE_ZERO
        PYCNN_OUTSIDE_BORDER
        PYCNN_OUTSIDE_REFLECTED
    ctypedef struct pycnn_sampling:
        int64_t n, c, positions
        int64_t *input "in"
        int rank, align_corners
        pycnn_sample_mode mode
        pycnn_outside outside
    ctypedef struct pycnn_taps:
        int64_t input "in"
        int64_t out
        const int64_t *begin
        const int64_t *index
        const double *weight
    ctypedef enum pycnn_stores:
        PYCNN_PLAIN_STORES
        PYCNN_STREAMED
        PYCNN_IN_PLACE
    ctypedef struct pycnn_range:
        int64_t begin, end
    ctypedef struct pycnn_step:
        int64_t tasks
        size_t scratch
    ctypedef struct pycnn_kernels:
        const char *isa
        int64_t lanes
        int import_tensor(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, pycnn_slot, pycnn_index_slot,
                          void *)
        int export_tensor(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, void *, void **)
        int reorder(pycnn_step *, pycnn_layout, pycnn_layout, int, int64_t, int64_t, int64_t, void *, void *)
        double conv_cycles(pycnn_conv *, pycnn_layout, pycnn_layout, int)
        int64_t conv_packed_size(pycnn_conv *, pycnn_layout, pycnn_layout, int)
        int conv_pack(pycnn_step *, pycnn_conv *, pycnn_layout, pycnn_layout, int, void *, void *, void *)
        int conv_fuses_pool(pycnn_conv *, pycnn_layout, pycnn_layout, pycnn_window *)
        int conv_forward(pycnn_step *, pycnn_conv *, pycnn_layout, pycnn_layout, pycnn_activation, pycnn_window *,
                         void *, void *, void *, void *, void *)
        int conv_backward_data(pycnn_step *, pycnn_conv *, pycnn_layout, pycnn_layout, pycnn_activation, pycnn_activation,
                               void *, void *, void *, void *, void *)
        int64_t conv_partial_size(pycnn_conv *, pycnn_layout, pycnn_layout)
        int conv_backward_weights(pycnn_step *, pycnn_conv *, pycnn_layout, pycnn_layout, const unsigned char *, void *, void *,
                                  void *)
        int planes_forward(pycnn_step *, pycnn_conv *, pycnn_slot, pycnn_slot, pycnn_slot, void **)
        int planes_backward_data(pycnn_step *, pycnn_conv *, pycnn_slot, pycnn_slot, pycnn_slot, void **)
        int planes_backward_weights(pycnn_step *, pycnn_conv *, pycnn_slot, pycnn_slot, void **, void **)
        int conv_reduce_weights(pycnn_step *, pycnn_conv *, pycnn_layout, pycnn_layout, int, void *, void *, void *)
        int dense_forward(pycnn_step *, int64_t, int64_t, int64_t, pycnn_activation, void *, void *, void *, void *)
        int dense_backward_data(pycnn_step *, int64_t, int64_t, int64_t, pycnn_activation,
                                void *, void *, void *, void *)
        int dense_backward_weights(pycnn_step *, int64_t, int64_t, int64_t, int, const unsigned char *, void *, void *, void *,
                                   void *)
        int max_pool_forward(pycnn_step *, pycnn_window *, int64_t, void *, void *, void *)
        int max_pool_backward(pycnn_step *, pycnn_window *, int64_t, void *, void *, void *)
        int avg_pool_forward(pycnn_step *, pycnn_window *, int64_t *, pycnn_divisor, int64_t, void *, void *)
        int avg_pool_backward(pycnn_step *, pycnn_window *, int64_t *, pycnn_divisor, int, int64_t, void *, void *)
        int max_pool_planes(pycnn_step *, pycnn_window *, int64_t, pycnn_slot, void **, int64_t **)
        int max_pool_planes_backward(pycnn_step *, pycnn_window *, int64_t, pycnn_slot, pycnn_index_slot, void **, void *)
        int avg_pool_planes(pycnn_step *, pycnn_window *, int64_t *, pycnn_divisor, int64_t, pycnn_slot, void **)
        int avg_pool_planes_backward(pycnn_step *, pycnn_window *, int64_t *, pycnn_divisor, int64_t, pycnn_slot, void **)
        int lp_pool_forward(pycnn_step *, pycnn_window *, double, int64_t, void *, void *)
        int lp_pool_backward(pycnn_step *, pycnn_window *, double, int, int64_t, void *, void *, void *, void *)
        int max_unpool_backward(pycnn_step *, pycnn_window *, int64_t, void *, void *, void *)
        int resample(pycnn_step *, pycnn_taps *, double, int64_t, void *, void *)
        int permute(pycnn_step *, pycnn_layout, int64_t, int64_t *, int *, void *, void *)
        int connected_forward(pycnn_step *, pycnn_connections *, pycnn_activation, void *, void *, void *, void *)
        int connected_backward_data(pycnn_step *, pycnn_connections *, pycnn_activation, void *, void *, void *, void *)
        int connected_backward_weights(pycnn_step *, pycnn_connections *, int, void *, void *, void *, void *)
        int softmax_pool_forward(pycnn_step *, pycnn_connections *, void *, void *, void *)
        int softmax_pool_backward_data(pycnn_step *, pycnn_connections *, int, void *, void *, void *, void *)
        int softmax_pool_backward_weights(pycnn_step *, pycnn_connections *, int, int, void *, void *, void *, void *)
        int local_forward(pycnn_step *, pycnn_local *, pycnn_activation, void *, void *, void *, void *)
        int local_backward_data(pycnn_step *, pycnn_local *, pycnn_activation, void *, void *, void *, void *)
        int local_backward_weights(pycnn_step *, pycnn_local *, int, const unsigned char *, void *, void *, void *, void *)
        int scale_maps_forward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, pycnn_activation, void *, void *,
                               void *, void *)
        int scale_maps_backward_data(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, void *, void *, void *)
        int scale_maps_backward_weights(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int, void *, void *,
                                        void *, void *)
        int bias_forward(pycnn_step *, pycnn_layout, int64_t, int64_t, pycnn_activation, void *, void *, void *)
        int bias_backward_weights(pycnn_step *, pycnn_layout, int64_t, int64_t, int, void *, void *)
        int dropout(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int, double, double, uint32_t,
                    pycnn_state_slot, void *, void *)
        int gaussian_noise(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, double, uint32_t, pycnn_state_slot,
                           void *, void *)
        int64_t batch_norm_partial_size(pycnn_layout, int64_t, int64_t, int64_t)
        int batch_norm_sums(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, void *, void *)
        int batch_norm_statistics(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, double, void *, void *)
        int batch_norm_running(pycnn_step *, int64_t, int64_t, double, void *, double *, double *, void *, void *)
        int batch_norm_known(pycnn_step *, int64_t, double, void *, void *, void *)
        int batch_norm_forward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, pycnn_activation, void *, void *,
                               void *, void *, void *, void *)
        int batch_norm_backward_sums(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int, void *, void *, void *,
                                     void *, void *, void *)
        int batch_norm_backward_weights(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int, void *, void *,
                                        void *, void *, void *)
        int batch_norm_backward_data(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int, void *, void *, void *,
                                     void *, void *, void *, void *)
        int batch_norm_fold(pycnn_step *, int64_t, int64_t, void *, void *, void *, void *, void *, void *, void *)
        int embedding_forward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int64_t, void *, void *, void *)
        int embedding_backward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int64_t, int64_t, void *, void *, void *)
        int64_t group_norm_statistics_size(pycnn_layout, int64_t, int64_t, int64_t, int64_t)
        int group_norm_forward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int64_t, double, pycnn_activation,
                               void *, void *, void *, void *, void *)
        int group_norm_backward_data(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int64_t, void *, void *, void *,
                                     void *, void *)
        int64_t group_norm_partial_size(pycnn_layout, int64_t, int64_t, int64_t, int64_t)
        int group_norm_backward_weights(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int64_t, void *, void *,
                                        void *, void *)
        int group_norm_reduce_weights(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int64_t, int, void *, void *,
                                      void *)
        int local_response_forward(pycnn_step *, pycnn_response *, int64_t, int64_t, int64_t, void *, void *)
        int local_response_backward(pycnn_step *, pycnn_response *, int64_t, int64_t, int64_t, void *, void *, void *)
        int prelu_forward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, void *, void *, void *)
        int64_t prelu_partial_size(pycnn_layout, int64_t, int64_t, int64_t)
        int prelu_backward(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, void *, void *, void *, void *, void *)
        int prelu_reduce_weights(pycnn_step *, pycnn_layout, int64_t, int64_t, int64_t, int, void *, void *)
        int pointwise_forward(pycnn_step *, pycnn_pointwise, int64_t, void *, void *)
        int pointwise_backward(pycnn_step *, pycnn_pointwise, int64_t, void *, void *, void *)
        int rbf_forward(pycnn_step *, int64_t, int64_t, int64_t, void *, void *, void *)
        int rbf_backward_data(pycnn_step *, int64_t, int64_t, int64_t, int, void *, void *, void *, void *, void *)
        int rbf_backward_weights(pycnn_step *, int64_t, int64_t, int64_t, int, int, void *, void *, void *, void *)
        int affine_grid_forward(pycnn_step *, int64_t, int64_t, int64_t *, int, void *, void *)
        int affine_grid_backward(pycnn_step *, int64_t, int64_t, int64_t *, int, void *, void *)
        int grid_sample_forward(pycnn_step *, pycnn_sampling *, void *, void *, void *)
        int grid_sample_backward_data(pycnn_step *, pycnn_sampling *, void *, void *, void *)
        int grid_sample_backward_grid(pycnn_step *, pycnn_sampling *, void *, void *, void *, void *)
        int activation_forward(pycnn_step *, pycnn_activation, int64_t, void *, void *)
        int activation_backward(pycnn_step *, pycnn_activation, int64_t, void *, void *, void *)
        int sum(pycnn_step *, int64_t, int64_t, pycnn_slot, void *)
        int multiply(pycnn_step *, int64_t, void *, void *, void *)
        int fill(pycnn_step *, int64_t, double, void *)
        int copy_blocks(pycnn_step *, int64_t, int64_t, int64_t, int64_t, void *, void *)
        int traffic(pycnn_step *, int64_t, int64_t, pycnn_stores, void *, void *)
        int softmax_forward(pycnn_step *, int, int64_t, int64_t, int64_t, void *, void *)
        int softmax_backward(pycnn_step *, int, int64_t, int64_t, int64_t, void *, void *, void *)
        int squash_forward(pycnn_step *, int64_t, int64_t, int64_t, void *, void *)
        int squash_backward(pycnn_step *, int64_t, int64_t, int64_t, void *, void *, void *)
        int length_forward(pycnn_step *, int64_t, int64_t, void *, void *)
        int length_backward(pycnn_step *, int64_t, int64_t, void *, void *, void *)
        int mask_forward(pycnn_step *, int64_t, int64_t, int64_t, void *, void *, void *, void *)
        int mask_backward(pycnn_step *, int64_t, int64_t, int64_t, void *, void *, void *)
        int route_forward(pycnn_step *, pycnn_routing *, void *, void *, void *, void *, void *)
        int route_backward(pycnn_step *, pycnn_routing *, void *, void *, void *, void *, void *)
        int route_gradients(pycnn_step *, pycnn_routing *, int, void *, void *, void *, void *, void *)
        int softmax_cross_entropy(pycnn_step *, int64_t, int64_t, int64_t, double, void *, pycnn_index_slot,
                                  pycnn_slot, void *, double *)
        int mean_squared_error(pycnn_step *, int64_t, double, void *, pycnn_slot, void *, double *)
        int binary_cross_entropy(pycnn_step *, int, int64_t, double, void *, pycnn_slot, void *, double *)
        int distance_loss(pycnn_step *, int64_t, int64_t, double, double, int, void *, pycnn_index_slot, void *, double *)
        int margin_loss(pycnn_step *, int64_t, int64_t, double, double, double, double, void *, pycnn_index_slot,
                        void *, double *)
        int total_loss(pycnn_step *, int64_t, double *, double *)
        int sgd(pycnn_step *, pycnn_range *, int64_t, double *, double *, void *, void *, void *)
        int sdlm(pycnn_step *, pycnn_range *, int64_t, double *, double *, void *, void *, void *)
        int adam(pycnn_step *, pycnn_range *, int64_t, double *, double *, void *, void *, void *, void *)
        int rmsprop(pycnn_step *, pycnn_range *, int64_t, double *, double *, void *, void *, void *, void *)
        int clip_norm(pycnn_step *, pycnn_range *, int64_t, double *, void *, double *, double *)
    const char *pycnn_best_isa()
    const pycnn_kernels *pycnn_kernels_for(const char *isa, size_t real_size)
    void pycnn_run(pycnn_step *steps, int64_t count, int threads, void *scratch, size_t scratch_per_thread)
    void pycnn_step_free(pycnn_step *)
    int pycnn_max_threads()
    void pycnn_set_max_threads(int)
    int pycnn_has_openmp()
    const char *pycnn_compiler()


PLAIN, SAMPLES, CHANNELS = PYCNN_PLAIN, PYCNN_SAMPLES, PYCNN_CHANNELS
FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS = range(3)
# What the sum over a pooling window is divided by.
TAPS, TAPS_AND_PADDING, ONE = PYCNN_TAPS, PYCNN_TAPS_AND_PADDING, PYCNN_ONE

# How a grid reads maps, and what lies outside them.
NEAREST, LINEAR, CUBIC = PYCNN_SAMPLE_NEAREST, PYCNN_SAMPLE_LINEAR, PYCNN_SAMPLE_CUBIC
ZERO, BORDER, REFLECTED = PYCNN_OUTSIDE_ZERO, PYCNN_OUTSIDE_BORDER, PYCNN_OUTSIDE_REFLECTED

# How `traffic` writes.
PLAIN_STORES, STREAMED, IN_PLACE = PYCNN_PLAIN_STORES, PYCNN_STREAMED, PYCNN_IN_PLACE

# In the order of pycnn_activation_kind.
ACTIVATIONS = ("identity", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "scaled_tanh", "softplus", "selu")

# In the order of pycnn_pointwise_kind.
POINTWISE = ("gelu", "gelu_tanh", "silu", "hard_sigmoid", "hard_swish", "mish", "softsign", "clip")


def best_isa():
    """Name of the best instruction set that this CPU and this build have."""
    return pycnn_best_isa().decode()


def max_threads():
    """Threads that OpenMP allows the calling thread."""
    return pycnn_max_threads()


def set_max_threads(int threads):
    """Sets what `max_threads` returns, for the calling thread."""
    pycnn_set_max_threads(threads)


def has_openmp():
    """Whether the module was built with OpenMP."""
    return bool(pycnn_has_openmp())


def compiler():
    """Name and version of the compiler that built the module."""
    return pycnn_compiler().decode()


cdef pycnn_window to_window(w):
    cdef pycnn_window c
    cdef int a
    inputs, out, kernel, stride, dilation, before = w
    for a in range(3):
        c.input[a] = inputs[a]
        c.out[a] = out[a]
        c.kernel[a] = kernel[a]
        c.stride[a] = stride[a]
        c.dilation[a] = dilation[a]
        c.before[a] = before[a]
    return c


cdef pycnn_conv to_conv(conv):
    """From (n, c, k, groups, window, winograd)."""
    cdef pycnn_conv c
    c.n, c.c, c.k, c.groups = conv[:4]
    c.window = to_window(conv[4])
    c.winograd = conv[5]
    return c


cdef pycnn_local to_local(local):
    """From (n, c, k, window, sections), the last three integers."""
    cdef pycnn_local c
    cdef int a
    c.n, c.c, c.k = local[:3]
    c.window = to_window(local[3])
    for a in range(3):
        c.sections[a] = local[4][a]
    return c


cdef pycnn_activation to_activation(activation):
    """From (number, alpha)."""
    cdef pycnn_activation c
    c.kind = <pycnn_activation_kind><int>activation[0]
    c.alpha = activation[1]
    return c


cdef pycnn_sampling to_sampling(sampling):
    """From (n, c, in, positions, rank, mode, outside, align_corners)."""
    cdef pycnn_sampling s
    s.n, s.c, inputs, s.positions, s.rank, s.mode, s.outside, s.align_corners = sampling
    for a in range(3):
        s.input[a] = inputs[a]
    return s
cdef pycnn_routing to_routing(routing):
    """From (n, inputs, in_size, outputs, out_size, iterations)."""
    cdef pycnn_routing c
    c.n, c.inputs, c.in_size, c.outputs, c.out_size, c.iterations = routing
    return c


cdef pycnn_pointwise to_pointwise(function):
    """From (number, a, b)."""
    cdef pycnn_pointwise c
    c.kind = <pycnn_pointwise_kind><int>function[0]
    c.a, c.b = function[1:]
    return c


cdef pycnn_response to_response(response):
    """From (size, alpha, beta, k)."""
    cdef pycnn_response c
    c.size, c.alpha, c.beta, c.k = response
    return c


cdef class Kernels:
    """The kernels of one instruction set and one real type.

    Raises ValueError when this CPU or this build lacks the instruction set.
    """

    cdef const pycnn_kernels *table
    cdef readonly int64_t lanes
    cdef readonly str isa
    cdef readonly size_t real_size

    def __init__(self, str isa, size_t real_size):
        self.table = pycnn_kernels_for(isa.encode(), real_size)
        if self.table is NULL:
            raise ValueError(f"instruction set {isa!r} is not available on this CPU or in this build")
        self.lanes = self.table.lanes
        self.isa = isa
        self.real_size = real_size

    def conv_packed_size(self, conv, pycnn_layout layout, pycnn_layout x_layout, bint backward):
        cdef pycnn_conv c = to_conv(conv)
        return check_size(self.table.conv_packed_size(&c, layout, x_layout, backward))

    def conv_cycles(self, conv, pycnn_layout layout, pycnn_layout x_layout, int which):
        """About how many cycles a pass takes: FORWARD, BACKWARD_DATA or BACKWARD_WEIGHTS."""
        cdef pycnn_conv c = to_conv(conv)
        return self.table.conv_cycles(&c, layout, x_layout, which)

    def conv_fuses_pool(self, conv, pycnn_layout layout, pycnn_layout x_layout, pool):
        """Whether `conv_forward` takes that window of pooling."""
        cdef pycnn_conv c = to_conv(conv)
        cdef pycnn_window w = to_window(pool)
        return bool(self.table.conv_fuses_pool(&c, layout, x_layout, &w))

    def conv_partial_size(self, conv, pycnn_layout layout, pycnn_layout x_layout):
        cdef pycnn_conv c = to_conv(conv)
        return check_size(self.table.conv_partial_size(&c, layout, x_layout))

    def batch_norm_partial_size(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions):
        return self.table.batch_norm_partial_size(layout, n, c, positions)

    def group_norm_statistics_size(self, pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions):
        return self.table.group_norm_statistics_size(layout, n, c, groups, positions)

    def group_norm_partial_size(self, pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions):
        return self.table.group_norm_partial_size(layout, n, c, groups, positions)

    def prelu_partial_size(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions):
        return self.table.prelu_partial_size(layout, n, c, positions)


cdef check_size(int64_t size):
    if size < 0:
        check(<int>size)
    return size


cdef check(int status):
    if status == PYCNN_NO_MEMORY:
        raise MemoryError("no memory for the arguments of a kernel")
    if status != PYCNN_OK:
        raise ValueError("a tensor is too large: one sample's offsets do not fit in 31 bits")


cdef class Program:
    """A list of kernel calls, run in order.

    Methods named after kernels append a call; their arguments are those of the kernel in ``csrc/pycnn.h``, addresses as
    integers (0 for NULL). A slot is the address of a pointer that `run` sets to an array of the caller's.

    Parameters
    ----------
    kernels : Kernels
    slots : int
        How many arrays `run` takes.
    """

    cdef const pycnn_kernels *table
    cdef readonly Kernels kernels
    cdef pycnn_step *steps
    cdef int64_t count, capacity
    cdef void **slots
    cdef Py_ssize_t *least      # bytes that the array of a slot must have, negative where there may be none
    cdef Py_buffer *views
    cdef readonly int slot_count
    cdef dict functions         # number of a step -> what Python calls in its place
    cdef bint running           # whether `run` is under way
    cdef bytearray scratch
    cdef size_t scratch_per_thread

    def __cinit__(self, Kernels kernels not None, int slots=0):
        self.kernels = kernels
        self.table = kernels.table
        self.slot_count = slots
        self.slots = <void **>calloc(slots + 1, sizeof(void *))
        self.views = <Py_buffer *>calloc(slots + 1, sizeof(Py_buffer))
        self.least = <Py_ssize_t *>calloc(slots + 1, sizeof(Py_ssize_t))
        if self.slots is NULL or self.views is NULL or self.least is NULL:
            raise MemoryError()
        self.scratch = bytearray()
        self.functions = {}

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.count):
            pycnn_step_free(&self.steps[i])
        free(self.steps)
        free(self.slots)
        free(self.views)
        free(self.least)

    def __len__(self):
        return self.count

    def slot(self, int i):
        """Address of the pointer to the i-th array of `run`."""
        if not 0 <= i < self.slot_count:
            raise IndexError(f"there is no slot {i}")
        return <uintptr_t>&self.slots[i]

    def expect(self, int i, Py_ssize_t nbytes, bint optional=False):
        """From now on `run` refuses an i-th array of fewer bytes, and None unless it is optional."""
        self.slot(i)
        self.least[i] = -nbytes if optional else nbytes

    def tasks(self, int64_t i):
        """Independent tasks of the i-th step."""
        if not 0 <= i < self.count:
            raise IndexError(f"there is no step {i}")
        return self.steps[i].tasks

    cdef pycnn_step *new_step(self) except NULL:
        cdef pycnn_step *steps
        if self.count == self.capacity:
            steps = <pycnn_step *>realloc(self.steps, (2 * self.capacity + 8) * sizeof(pycnn_step))
            if steps is NULL:
                raise MemoryError()
            self.steps = steps
            self.capacity = 2 * self.capacity + 8
        memset(&self.steps[self.count], 0, sizeof(pycnn_step))
        return &self.steps[self.count]

    cdef append(self, int status):
        check(status)
        self.scratch_per_thread = max(self.scratch_per_thread, (self.steps[self.count].scratch + 127) // 64 * 64)
        self.count += 1

    def run(self, arrays=(), *, int threads=1, int64_t begin=0, int64_t end=-1, outputs=()):
        """Runs the steps begin <= i < end, those of kernels with the GIL released.

        `arrays` are C-contiguous buffers for the slots, or None; those whose position is in `outputs` are written.
        RuntimeError from within a step of Python of the same program: its memory is in use.
        """
        cdef int held = 0, flags
        cdef size_t needed
        cdef char *memory
        if end < 0:
            end = self.count
        if begin < 0 or begin > end or end > self.count or len(arrays) != self.slot_count:
            raise ValueError("run: no such steps, or a wrong number of arrays")
        if self.running:
            raise RuntimeError("run: a function that a network calls may not run the same network on as many samples")
        needed = threads * self.scratch_per_thread + 64
        if <size_t>len(self.scratch) < needed:
            self.scratch = bytearray(needed)
        memory = <char *>self.scratch
        memory += (64 - <uintptr_t>memory % 64) % 64
        self.running = True
        try:
            for held in range(self.slot_count):
                array = arrays[held]
                if array is None:
                    if self.least[held] > 0:
                        raise ValueError(f"run: array {held} is missing")
                    continue
                flags = PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if held in outputs else 0)
                PyObject_GetBuffer(array, &self.views[held], flags)
                self.slots[held] = self.views[held].buf
                if self.views[held].len < abs(self.least[held]):
                    raise ValueError(f"run: array {held} has {self.views[held].len} bytes, expects at least "
                                     f"{abs(self.least[held])}")
            for step, (function, arguments) in self.functions.items():
                if begin <= step < end:
                    self.run_kernels(begin, step, threads, memory)
                    function(*arguments)
                    begin = step + 1
            self.run_kernels(begin, end, threads, memory)
        finally:
            self.running = False
            for held in range(self.slot_count):
                if self.slots[held] is not NULL:
                    self.slots[held] = NULL
                    PyBuffer_Release(&self.views[held])

    cdef run_kernels(self, int64_t begin, int64_t end, int threads, char *memory):
        with nogil:
            pycnn_run(self.steps + begin, end - begin, threads, memory, self.scratch_per_thread)

    def python(self, function, arguments):
        """A step that holds the GIL: ``function(*arguments)``."""
        self.new_step()
        self.functions[self.count] = (function, tuple(arguments))
        self.count += 1

    def import_tensor(self, pycnn_layout to, int64_t n, int64_t c, int64_t s, uintptr_t x_slot, uintptr_t rows_slot,
                      uintptr_t y):
        self.append(self.table.import_tensor(self.new_step(), to, n, c, s, <pycnn_slot>x_slot,
                                             <pycnn_index_slot>rows_slot, <void *>y))

    def export_tensor(self, pycnn_layout origin, int64_t n, int64_t c, int64_t s, uintptr_t x, uintptr_t y_slot):
        self.append(self.table.export_tensor(self.new_step(), origin, n, c, s, <void *>x, <void **>y_slot))

    def reorder(self, pycnn_layout origin, pycnn_layout to, bint gradient, int64_t n, int64_t c, int64_t s,
                uintptr_t x, uintptr_t y):
        self.append(self.table.reorder(self.new_step(), origin, to, gradient, n, c, s, <void *>x, <void *>y))

    def conv_pack(self, conv, pycnn_layout layout, pycnn_layout x_layout, bint backward, uintptr_t w, uintptr_t bias,
                  uintptr_t packed):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.conv_pack(self.new_step(), &c, layout, x_layout, backward, <void *>w, <void *>bias,
                                         <void *>packed))

    def conv_forward(self, conv, pycnn_layout layout, pycnn_layout x_layout, activation, pool, uintptr_t x,
                     uintptr_t packed, uintptr_t y, uintptr_t indices, uintptr_t added=0):
        cdef pycnn_conv c = to_conv(conv)
        cdef pycnn_window p
        if pool:
            p = to_window(pool)
        self.append(self.table.conv_forward(self.new_step(), &c, layout, x_layout, to_activation(activation),
                                            &p if pool else NULL, <void *>x, <void *>packed,
                                            <void *>added, <void *>y, <void *>indices))

    def conv_backward_data(self, conv, pycnn_layout layout, pycnn_layout x_layout, forward, backward, uintptr_t dy,
                           uintptr_t packed, uintptr_t x, uintptr_t dx, uintptr_t added=0):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.conv_backward_data(self.new_step(), &c, layout, x_layout, to_activation(forward),
                                                  to_activation(backward), <void *>dy, <void *>packed, <void *>x,
                                                  <void *>added, <void *>dx))

    def conv_backward_weights(self, conv, pycnn_layout layout, pycnn_layout x_layout, learns, uintptr_t dy, uintptr_t x,
                              uintptr_t partial):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.conv_backward_weights(self.new_step(), &c, layout, x_layout, flags(learns or None), <void *>dy,
                                                     <void *>x, <void *>partial))

    def conv_reduce_weights(self, conv, pycnn_layout layout, pycnn_layout x_layout, bint accumulate,
                            uintptr_t partial, uintptr_t dw, uintptr_t db):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.conv_reduce_weights(self.new_step(), &c, layout, x_layout, accumulate, <void *>partial,
                                                   <void *>dw, <void *>db))

    def planes_forward(self, conv, uintptr_t x_slot, uintptr_t w_slot, uintptr_t bias_slot, uintptr_t y_slot):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.planes_forward(self.new_step(), &c, <pycnn_slot>x_slot, <pycnn_slot>w_slot,
                                              <pycnn_slot>bias_slot, <void **>y_slot))

    def planes_backward_data(self, conv, uintptr_t dy_slot, uintptr_t w_slot, uintptr_t bias_slot, uintptr_t dx_slot):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.planes_backward_data(self.new_step(), &c, <pycnn_slot>dy_slot, <pycnn_slot>w_slot,
                                                    <pycnn_slot>bias_slot, <void **>dx_slot))

    def planes_backward_weights(self, conv, uintptr_t dy_slot, uintptr_t x_slot, uintptr_t dw_slot, uintptr_t db_slot):
        cdef pycnn_conv c = to_conv(conv)
        self.append(self.table.planes_backward_weights(self.new_step(), &c, <pycnn_slot>dy_slot, <pycnn_slot>x_slot,
                                                       <void **>dw_slot, <void **>db_slot))

    def dense_forward(self, int64_t n, int64_t c, int64_t k, activation, uintptr_t x, uintptr_t w, uintptr_t bias,
                      uintptr_t y):
        self.append(self.table.dense_forward(self.new_step(), n, c, k, to_activation(activation), <void *>x,
                                             <void *>w, <void *>bias, <void *>y))

    def dense_backward_data(self, int64_t n, int64_t c, int64_t k, backward, uintptr_t dy, uintptr_t w, uintptr_t x,
                            uintptr_t dx):
        self.append(self.table.dense_backward_data(self.new_step(), n, c, k, to_activation(backward), <void *>dy,
                                                   <void *>w, <void *>x, <void *>dx))

    def dense_backward_weights(self, int64_t n, int64_t c, int64_t k, bint accumulate, learns, uintptr_t dy, uintptr_t x,
                               uintptr_t dw, uintptr_t db):
        self.append(self.table.dense_backward_weights(self.new_step(), n, c, k, accumulate, flags(learns or None), <void *>dy,
                                                      <void *>x, <void *>dw, <void *>db))

    def max_pool_forward(self, window, int64_t planes, uintptr_t x, uintptr_t y, uintptr_t indices):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.max_pool_forward(self.new_step(), &w, planes, <void *>x, <void *>y, <void *>indices))

    def max_pool_backward(self, window, int64_t planes, uintptr_t dy, uintptr_t indices, uintptr_t dx):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.max_pool_backward(self.new_step(), &w, planes, <void *>dy, <void *>indices, <void *>dx))

    def avg_pool_forward(self, window, after, pycnn_divisor divisor, int64_t planes, uintptr_t x, uintptr_t y):
        cdef pycnn_window w = to_window(window)
        cdef int64_t[3] padding = after
        self.append(self.table.avg_pool_forward(self.new_step(), &w, padding, divisor, planes, <void *>x, <void *>y))

    def avg_pool_backward(self, window, after, pycnn_divisor divisor, bint squared, int64_t planes, uintptr_t dy,
                          uintptr_t dx):
        cdef pycnn_window w = to_window(window)
        cdef int64_t[3] padding = after
        self.append(self.table.avg_pool_backward(self.new_step(), &w, padding, divisor, squared, planes, <void *>dy,
                                                 <void *>dx))

    def max_pool_planes(self, window, int64_t planes, uintptr_t x_slot, uintptr_t y_slot, uintptr_t positions_slot):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.max_pool_planes(self.new_step(), &w, planes, <pycnn_slot>x_slot, <void **>y_slot,
                                               <int64_t **>positions_slot))

    def max_pool_planes_backward(self, window, int64_t planes, uintptr_t dy_slot, uintptr_t positions_slot,
                                 uintptr_t dx_slot, uintptr_t astray):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.max_pool_planes_backward(self.new_step(), &w, planes, <pycnn_slot>dy_slot,
                                                        <pycnn_index_slot>positions_slot, <void **>dx_slot,
                                                        <void *>astray))

    def avg_pool_planes(self, window, after, pycnn_divisor divisor, int64_t planes, uintptr_t x_slot, uintptr_t y_slot):
        cdef pycnn_window w = to_window(window)
        cdef int64_t[3] padding = after
        self.append(self.table.avg_pool_planes(self.new_step(), &w, padding, divisor, planes, <pycnn_slot>x_slot,
                                               <void **>y_slot))

    def avg_pool_planes_backward(self, window, after, pycnn_divisor divisor, int64_t planes, uintptr_t dy_slot,
                                 uintptr_t dx_slot):
        cdef pycnn_window w = to_window(window)
        cdef int64_t[3] padding = after
        self.append(self.table.avg_pool_planes_backward(self.new_step(), &w, padding, divisor, planes,
                                                        <pycnn_slot>dy_slot, <void **>dx_slot))

    def lp_pool_forward(self, window, double p, int64_t planes, uintptr_t x, uintptr_t y):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.lp_pool_forward(self.new_step(), &w, p, planes, <void *>x, <void *>y))

    def lp_pool_backward(self, window, double p, bint squared, int64_t planes, uintptr_t dy, uintptr_t x, uintptr_t y,
                         uintptr_t dx):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.lp_pool_backward(self.new_step(), &w, p, squared, planes, <void *>dy, <void *>x, <void *>y,
                                                <void *>dx))

    def max_unpool_backward(self, window, int64_t planes, uintptr_t dy, uintptr_t indices, uintptr_t dx):
        cdef pycnn_window w = to_window(window)
        self.append(self.table.max_unpool_backward(self.new_step(), &w, planes, <void *>dy, <void *>indices, <void *>dx))

    def resample(self, axes, double empty, int64_t planes, uintptr_t x, uintptr_t y):
        """`axes` are three of (in, out, begin, index, weight), the last three as bytes of int64 and float64 numbers."""
        cdef pycnn_taps[3] taps
        cdef bytes begin, index, weight     # which `axes` holds on to
        cdef int a
        for a in range(3):
            taps[a].input, taps[a].out, begin, index, weight = axes[a]
            taps[a].begin = <const int64_t *><const char *>begin
            taps[a].index = <const int64_t *><const char *>index
            taps[a].weight = <const double *><const char *>weight
        self.append(self.table.resample(self.new_step(), taps, empty, planes, <void *>x, <void *>y))

    def permute(self, pycnn_layout layout, int64_t n, size, axes, uintptr_t x, uintptr_t y):
        cdef int64_t[4] sizes = size
        cdef int[4] order = axes
        self.append(self.table.permute(self.new_step(), layout, n, sizes, order, <void *>x, <void *>y))

    def connected_forward(self, connections, activation, uintptr_t x, uintptr_t w, uintptr_t bias, uintptr_t y):
        cdef Connections c = Connections(connections)
        self.append(self.table.connected_forward(self.new_step(), &c.data, to_activation(activation), <void *>x,
                                                 <void *>w, <void *>bias, <void *>y))

    def connected_backward_data(self, connections, backward, uintptr_t dy, uintptr_t w, uintptr_t x, uintptr_t dx):
        cdef Connections c = Connections(connections)
        self.append(self.table.connected_backward_data(self.new_step(), &c.data, to_activation(backward), <void *>dy,
                                                       <void *>w, <void *>x, <void *>dx))

    def connected_backward_weights(self, connections, bint accumulate, uintptr_t dy, uintptr_t x, uintptr_t dw,
                                   uintptr_t db):
        cdef Connections c = Connections(connections)
        self.append(self.table.connected_backward_weights(self.new_step(), &c.data, accumulate, <void *>dy, <void *>x,
                                                          <void *>dw, <void *>db))

    def softmax_pool_forward(self, connections, uintptr_t x, uintptr_t sharpness, uintptr_t y):
        cdef Connections c = Connections(connections)
        self.append(self.table.softmax_pool_forward(self.new_step(), &c.data, <void *>x, <void *>sharpness, <void *>y))

    def softmax_pool_backward_data(self, connections, bint squared, uintptr_t dy, uintptr_t x, uintptr_t sharpness,
                                   uintptr_t dx):
        cdef Connections c = Connections(connections)
        self.append(self.table.softmax_pool_backward_data(self.new_step(), &c.data, squared, <void *>dy, <void *>x,
                                                          <void *>sharpness, <void *>dx))

    def softmax_pool_backward_weights(self, connections, bint accumulate, bint squared, uintptr_t dy, uintptr_t x,
                                      uintptr_t sharpness, uintptr_t d_sharpness):
        cdef Connections c = Connections(connections)
        self.append(self.table.softmax_pool_backward_weights(self.new_step(), &c.data, accumulate, squared, <void *>dy,
                                                             <void *>x, <void *>sharpness, <void *>d_sharpness))

    def local_forward(self, local, activation, uintptr_t x, uintptr_t w, uintptr_t bias, uintptr_t y):
        cdef pycnn_local c = to_local(local)
        self.append(self.table.local_forward(self.new_step(), &c, to_activation(activation), <void *>x, <void *>w,
                                             <void *>bias, <void *>y))

    def local_backward_data(self, local, backward, uintptr_t dy, uintptr_t w, uintptr_t x, uintptr_t dx):
        cdef pycnn_local c = to_local(local)
        self.append(self.table.local_backward_data(self.new_step(), &c, to_activation(backward), <void *>dy, <void *>w,
                                                   <void *>x, <void *>dx))

    def local_backward_weights(self, local, bint accumulate, learns, uintptr_t dy, uintptr_t x, uintptr_t dw,
                               uintptr_t db):
        cdef pycnn_local c = to_local(local)
        self.append(self.table.local_backward_weights(self.new_step(), &c, accumulate, flags(learns or None), <void *>dy,
                                                      <void *>x, <void *>dw, <void *>db))

    def scale_maps_forward(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, activation, uintptr_t x,
                           uintptr_t a, uintptr_t b, uintptr_t y):
        self.append(self.table.scale_maps_forward(self.new_step(), layout, n, c, positions, to_activation(activation),
                                                  <void *>x, <void *>a, <void *>b, <void *>y))

    def scale_maps_backward_data(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, uintptr_t dy,
                                 uintptr_t a, uintptr_t dx):
        self.append(self.table.scale_maps_backward_data(self.new_step(), layout, n, c, positions, <void *>dy,
                                                        <void *>a, <void *>dx))

    def scale_maps_backward_weights(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, bint accumulate,
                                    uintptr_t dy, uintptr_t x, uintptr_t da, uintptr_t db):
        self.append(self.table.scale_maps_backward_weights(self.new_step(), layout, n, c, positions, accumulate,
                                                           <void *>dy, <void *>x, <void *>da, <void *>db))

    def bias_forward(self, pycnn_layout layout, int64_t n, int64_t elements, activation, uintptr_t x, uintptr_t b,
                     uintptr_t y):
        self.append(self.table.bias_forward(self.new_step(), layout, n, elements, to_activation(activation), <void *>x,
                                            <void *>b, <void *>y))

    def bias_backward_weights(self, pycnn_layout layout, int64_t n, int64_t elements, bint accumulate, uintptr_t dy,
                              uintptr_t db):
        self.append(self.table.bias_backward_weights(self.new_step(), layout, n, elements, accumulate, <void *>dy,
                                                     <void *>db))

    def dropout(self, pycnn_layout layout, int64_t n, int64_t c, int64_t s, bint maps, double p, double scale,
                uint32_t stream, uintptr_t state_slot, uintptr_t x, uintptr_t y):
        self.append(self.table.dropout(self.new_step(), layout, n, c, s, maps, p, scale, stream,
                                       <pycnn_state_slot>state_slot, <void *>x, <void *>y))

    def gaussian_noise(self, pycnn_layout layout, int64_t n, int64_t c, int64_t s, double deviation, uint32_t stream,
                       uintptr_t state_slot, uintptr_t x, uintptr_t y):
        self.append(self.table.gaussian_noise(self.new_step(), layout, n, c, s, deviation, stream,
                                              <pycnn_state_slot>state_slot, <void *>x, <void *>y))

    def batch_norm_sums(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, uintptr_t x, uintptr_t partial):
        self.append(self.table.batch_norm_sums(self.new_step(), layout, n, c, positions, <void *>x, <void *>partial))

    def batch_norm_statistics(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, double epsilon,
                              uintptr_t partial, uintptr_t statistics):
        self.append(self.table.batch_norm_statistics(self.new_step(), layout, n, c, positions, epsilon, <void *>partial,
                                                     <void *>statistics))

    def batch_norm_running(self, int64_t c, int64_t values, double momentum, uintptr_t statistics, uintptr_t guard,
                           uintptr_t scale, uintptr_t running_mean, uintptr_t running_var):
        self.append(self.table.batch_norm_running(self.new_step(), c, values, momentum, <void *>statistics,
                                                  <double *>guard, <double *>scale, <void *>running_mean,
                                                  <void *>running_var))

    def batch_norm_known(self, int64_t c, double epsilon, uintptr_t running_mean, uintptr_t running_var,
                         uintptr_t statistics):
        self.append(self.table.batch_norm_known(self.new_step(), c, epsilon, <void *>running_mean, <void *>running_var,
                                                <void *>statistics))

    def batch_norm_forward(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, activation, uintptr_t x,
                           uintptr_t statistics, uintptr_t gamma, uintptr_t beta, uintptr_t added, uintptr_t y):
        self.append(self.table.batch_norm_forward(self.new_step(), layout, n, c, positions, to_activation(activation),
                                                  <void *>x, <void *>statistics, <void *>gamma, <void *>beta,
                                                  <void *>added, <void *>y))

    def batch_norm_backward_sums(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, bint rectified,
                                 uintptr_t dy, uintptr_t x, uintptr_t statistics, uintptr_t gamma, uintptr_t beta,
                                 uintptr_t partial):
        self.append(self.table.batch_norm_backward_sums(self.new_step(), layout, n, c, positions, rectified, <void *>dy,
                                                        <void *>x, <void *>statistics, <void *>gamma, <void *>beta,
                                                        <void *>partial))

    def batch_norm_backward_weights(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, bint accumulate,
                                    uintptr_t partial, uintptr_t statistics, uintptr_t sums, uintptr_t dgamma,
                                    uintptr_t dbeta):
        self.append(self.table.batch_norm_backward_weights(self.new_step(), layout, n, c, positions, accumulate,
                                                           <void *>partial, <void *>statistics, <void *>sums,
                                                           <void *>dgamma, <void *>dbeta))

    def batch_norm_backward_data(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, bint rectified,
                                 uintptr_t dy, uintptr_t x, uintptr_t statistics, uintptr_t gamma, uintptr_t beta,
                                 uintptr_t sums, uintptr_t dx):
        self.append(self.table.batch_norm_backward_data(self.new_step(), layout, n, c, positions, rectified, <void *>dy,
                                                        <void *>x, <void *>statistics, <void *>gamma, <void *>beta,
                                                        <void *>sums, <void *>dx))

    def batch_norm_fold(self, int64_t k, int64_t per_filter, uintptr_t statistics, uintptr_t gamma, uintptr_t beta,
                        uintptr_t w, uintptr_t bias, uintptr_t folded_w, uintptr_t folded_bias):
        self.append(self.table.batch_norm_fold(self.new_step(), k, per_filter, <void *>statistics, <void *>gamma,
                                               <void *>beta, <void *>w, <void *>bias, <void *>folded_w,
                                               <void *>folded_bias))

    def embedding_forward(self, pycnn_layout layout, int64_t n, int64_t s, int64_t vocabulary, int64_t dimension,
                          uintptr_t ids, uintptr_t w, uintptr_t y):
        self.append(self.table.embedding_forward(self.new_step(), layout, n, s, vocabulary, dimension, <void *>ids,
                                                 <void *>w, <void *>y))

    def embedding_backward(self, pycnn_layout layout, int64_t n, int64_t s, int64_t vocabulary, int64_t dimension,
                           int64_t padding, uintptr_t dy, uintptr_t ids, uintptr_t dw):
        self.append(self.table.embedding_backward(self.new_step(), layout, n, s, vocabulary, dimension, padding,
                                                  <void *>dy, <void *>ids, <void *>dw))

    def group_norm_forward(self, pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                           double epsilon, activation, uintptr_t x, uintptr_t gamma, uintptr_t beta, uintptr_t statistics,
                           uintptr_t y):
        self.append(self.table.group_norm_forward(self.new_step(), layout, n, c, groups, positions, epsilon,
                                                  to_activation(activation), <void *>x, <void *>gamma, <void *>beta,
                                                  <void *>statistics, <void *>y))

    def group_norm_backward_data(self, pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                                 uintptr_t dy, uintptr_t x, uintptr_t statistics, uintptr_t gamma, uintptr_t dx):
        self.append(self.table.group_norm_backward_data(self.new_step(), layout, n, c, groups, positions, <void *>dy,
                                                        <void *>x, <void *>statistics, <void *>gamma, <void *>dx))

    def group_norm_backward_weights(self, pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                                    uintptr_t dy, uintptr_t x, uintptr_t statistics, uintptr_t partial):
        self.append(self.table.group_norm_backward_weights(self.new_step(), layout, n, c, groups, positions, <void *>dy,
                                                           <void *>x, <void *>statistics, <void *>partial))

    def group_norm_reduce_weights(self, pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions,
                                  bint accumulate, uintptr_t partial, uintptr_t dgamma, uintptr_t dbeta):
        self.append(self.table.group_norm_reduce_weights(self.new_step(), layout, n, c, groups, positions, accumulate,
                                                         <void *>partial, <void *>dgamma, <void *>dbeta))

    def local_response_forward(self, response, int64_t outer, int64_t channels, int64_t inner, uintptr_t x, uintptr_t y):
        cdef pycnn_response r = to_response(response)
        self.append(self.table.local_response_forward(self.new_step(), &r, outer, channels, inner, <void *>x, <void *>y))

    def local_response_backward(self, response, int64_t outer, int64_t channels, int64_t inner, uintptr_t dy, uintptr_t x,
                                uintptr_t dx):
        cdef pycnn_response r = to_response(response)
        self.append(self.table.local_response_backward(self.new_step(), &r, outer, channels, inner, <void *>dy, <void *>x,
                                                       <void *>dx))

    def prelu_forward(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, uintptr_t x, uintptr_t slope,
                      uintptr_t y):
        self.append(self.table.prelu_forward(self.new_step(), layout, n, c, positions, <void *>x, <void *>slope,
                                             <void *>y))

    def prelu_backward(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, uintptr_t dy, uintptr_t x,
                       uintptr_t slope, uintptr_t dx, uintptr_t partial):
        self.append(self.table.prelu_backward(self.new_step(), layout, n, c, positions, <void *>dy, <void *>x,
                                              <void *>slope, <void *>dx, <void *>partial))

    def prelu_reduce_weights(self, pycnn_layout layout, int64_t n, int64_t c, int64_t positions, bint accumulate,
                             uintptr_t partial, uintptr_t dslope):
        self.append(self.table.prelu_reduce_weights(self.new_step(), layout, n, c, positions, accumulate,
                                                    <void *>partial, <void *>dslope))

    def pointwise_forward(self, function, int64_t n, uintptr_t x, uintptr_t y):
        self.append(self.table.pointwise_forward(self.new_step(), to_pointwise(function), n, <void *>x, <void *>y))

    def pointwise_backward(self, function, int64_t n, uintptr_t dy, uintptr_t x, uintptr_t dx):
        self.append(self.table.pointwise_backward(self.new_step(), to_pointwise(function), n, <void *>dy, <void *>x,
                                                  <void *>dx))

    def rbf_forward(self, int64_t n, int64_t c, int64_t k, uintptr_t x, uintptr_t w, uintptr_t y):
        self.append(self.table.rbf_forward(self.new_step(), n, c, k, <void *>x, <void *>w, <void *>y))

    def rbf_backward_data(self, int64_t n, int64_t c, int64_t k, bint squared, uintptr_t dy, uintptr_t slope, uintptr_t x,
                          uintptr_t w, uintptr_t dx):
        self.append(self.table.rbf_backward_data(self.new_step(), n, c, k, squared, <void *>dy, <void *>slope, <void *>x,
                                                 <void *>w, <void *>dx))

    def rbf_backward_weights(self, int64_t n, int64_t c, int64_t k, bint accumulate, bint squared, uintptr_t dy,
                             uintptr_t x, uintptr_t w, uintptr_t dw):
        self.append(self.table.rbf_backward_weights(self.new_step(), n, c, k, accumulate, squared, <void *>dy,
                                                    <void *>x, <void *>w, <void *>dw))

    def affine_grid_forward(self, int64_t n, int64_t rank, size, bint align_corners, uintptr_t theta, uintptr_t grid):
        cdef int64_t[3] sizes = size
        self.append(self.table.affine_grid_forward(self.new_step(), n, rank, sizes, align_corners, <void *>theta,
                                                   <void *>grid))

    def affine_grid_backward(self, int64_t n, int64_t rank, size, bint align_corners, uintptr_t dgrid, uintptr_t dtheta):
        cdef int64_t[3] sizes = size
        self.append(self.table.affine_grid_backward(self.new_step(), n, rank, sizes, align_corners, <void *>dgrid,
                                                    <void *>dtheta))

    def grid_sample_forward(self, sampling, uintptr_t x, uintptr_t grid, uintptr_t y):
        cdef pycnn_sampling s = to_sampling(sampling)
        self.append(self.table.grid_sample_forward(self.new_step(), &s, <void *>x, <void *>grid, <void *>y))

    def grid_sample_backward_data(self, sampling, uintptr_t dy, uintptr_t grid, uintptr_t dx):
        cdef pycnn_sampling s = to_sampling(sampling)
        self.append(self.table.grid_sample_backward_data(self.new_step(), &s, <void *>dy, <void *>grid, <void *>dx))

    def grid_sample_backward_grid(self, sampling, uintptr_t dy, uintptr_t x, uintptr_t grid, uintptr_t dgrid):
        cdef pycnn_sampling s = to_sampling(sampling)
        self.append(self.table.grid_sample_backward_grid(self.new_step(), &s, <void *>dy, <void *>x, <void *>grid,
                                                         <void *>dgrid))

    def activation_forward(self, activation, int64_t n, uintptr_t x, uintptr_t y):
        self.append(self.table.activation_forward(self.new_step(), to_activation(activation), n, <void *>x, <void *>y))

    def activation_backward(self, activation, int64_t n, uintptr_t dy, uintptr_t y, uintptr_t dx):
        self.append(self.table.activation_backward(self.new_step(), to_activation(activation), n, <void *>dy,
                                                   <void *>y, <void *>dx))

    def sum(self, int64_t n, xs, uintptr_t y):
        cdef int64_t i, count = len(xs)
        cdef void **pointers = <void **>calloc(count, sizeof(void *))
        if pointers is NULL:
            raise MemoryError()
        try:
            for i in range(count):
                pointers[i] = <void *><uintptr_t>xs[i]
            self.append(self.table.sum(self.new_step(), n, count, <pycnn_slot>pointers, <void *>y))
        finally:
            free(pointers)

    def multiply(self, int64_t n, uintptr_t a, uintptr_t b, uintptr_t y):
        self.append(self.table.multiply(self.new_step(), n, <void *>a, <void *>b, <void *>y))

    def fill(self, int64_t n, double value, uintptr_t y):
        self.append(self.table.fill(self.new_step(), n, value, <void *>y))

    def copy_blocks(self, int64_t blocks, int64_t length, int64_t from_stride, int64_t to_stride, uintptr_t origin,
                    uintptr_t to):
        self.append(self.table.copy_blocks(self.new_step(), blocks, length, from_stride, to_stride, <void *>origin,
                                           <void *>to))

    def traffic(self, int64_t reads, int64_t writes, pycnn_stores stores, uintptr_t x, uintptr_t y):
        self.append(self.table.traffic(self.new_step(), reads, writes, stores, <void *>x, <void *>y))

    def softmax_forward(self, bint log, int64_t outer, int64_t axis, int64_t inner, uintptr_t x, uintptr_t y):
        self.append(self.table.softmax_forward(self.new_step(), log, outer, axis, inner, <void *>x, <void *>y))

    def softmax_backward(self, bint log, int64_t outer, int64_t axis, int64_t inner, uintptr_t dy, uintptr_t y,
                         uintptr_t dx):
        self.append(self.table.softmax_backward(self.new_step(), log, outer, axis, inner, <void *>dy, <void *>y,
                                                <void *>dx))

    def squash_forward(self, int64_t groups, int64_t size, int64_t positions, uintptr_t x, uintptr_t y):
        self.append(self.table.squash_forward(self.new_step(), groups, size, positions, <void *>x, <void *>y))

    def squash_backward(self, int64_t groups, int64_t size, int64_t positions, uintptr_t dy, uintptr_t x, uintptr_t dx):
        self.append(self.table.squash_backward(self.new_step(), groups, size, positions, <void *>dy, <void *>x,
                                               <void *>dx))

    def length_forward(self, int64_t groups, int64_t size, uintptr_t x, uintptr_t y):
        self.append(self.table.length_forward(self.new_step(), groups, size, <void *>x, <void *>y))

    def length_backward(self, int64_t groups, int64_t size, uintptr_t dy, uintptr_t x, uintptr_t dx):
        self.append(self.table.length_backward(self.new_step(), groups, size, <void *>dy, <void *>x, <void *>dx))

    def mask_forward(self, int64_t n, int64_t capsules, int64_t size, uintptr_t x, uintptr_t target, uintptr_t y,
                     uintptr_t kept):
        self.append(self.table.mask_forward(self.new_step(), n, capsules, size, <void *>x, <void *>target, <void *>y,
                                            <void *>kept))

    def mask_backward(self, int64_t n, int64_t capsules, int64_t size, uintptr_t dy, uintptr_t kept, uintptr_t dx):
        self.append(self.table.mask_backward(self.new_step(), n, capsules, size, <void *>dy, <void *>kept, <void *>dx))

    def route_forward(self, routing, uintptr_t u, uintptr_t w, uintptr_t sums, uintptr_t traces, uintptr_t v):
        cdef pycnn_routing r = to_routing(routing)
        self.append(self.table.route_forward(self.new_step(), &r, <void *>u, <void *>w, <void *>sums, <void *>traces,
                                             <void *>v))

    def route_backward(self, routing, uintptr_t dv, uintptr_t u, uintptr_t w, uintptr_t sums, uintptr_t traces):
        cdef pycnn_routing r = to_routing(routing)
        self.append(self.table.route_backward(self.new_step(), &r, <void *>dv, <void *>u, <void *>w, <void *>sums,
                                              <void *>traces))

    def route_gradients(self, routing, bint accumulate, uintptr_t u, uintptr_t w, uintptr_t traces, uintptr_t du,
                        uintptr_t dw):
        cdef pycnn_routing r = to_routing(routing)
        self.append(self.table.route_gradients(self.new_step(), &r, accumulate, <void *>u, <void *>w, <void *>traces,
                                               <void *>du, <void *>dw))

    def softmax_cross_entropy(self, int64_t n, int64_t classes, int64_t positions, double weight, uintptr_t scores,
                              uintptr_t labels_slot, uintptr_t class_weights_slot, uintptr_t dscores,
                              uintptr_t result):
        self.append(self.table.softmax_cross_entropy(self.new_step(), n, classes, positions, weight, <void *>scores,
                                                     <pycnn_index_slot>labels_slot, <pycnn_slot>class_weights_slot,
                                                     <void *>dscores, <double *>result))

    def mean_squared_error(self, int64_t n, double weight, uintptr_t y, uintptr_t target_slot, uintptr_t dy,
                           uintptr_t result):
        self.append(self.table.mean_squared_error(self.new_step(), n, weight, <void *>y, <pycnn_slot>target_slot,
                                                  <void *>dy, <double *>result))

    def binary_cross_entropy(self, bint logits, int64_t n, double weight, uintptr_t y, uintptr_t target_slot,
                             uintptr_t dy, uintptr_t result):
        self.append(self.table.binary_cross_entropy(self.new_step(), logits, n, weight, <void *>y,
                                                    <pycnn_slot>target_slot, <void *>dy, <double *>result))

    def distance_loss(self, int64_t n, int64_t classes, double weight, double margin, bint second, uintptr_t y,
                      uintptr_t labels_slot, uintptr_t dy, uintptr_t result):
        self.append(self.table.distance_loss(self.new_step(), n, classes, weight, margin, second, <void *>y,
                                             <pycnn_index_slot>labels_slot, <void *>dy, <double *>result))

    def margin_loss(self, int64_t n, int64_t classes, double weight, double present, double absent, double share,
                    uintptr_t y, uintptr_t labels_slot, uintptr_t dy, uintptr_t result):
        self.append(self.table.margin_loss(self.new_step(), n, classes, weight, present, absent, share, <void *>y,
                                           <pycnn_index_slot>labels_slot, <void *>dy, <double *>result))

    def total_loss(self, int64_t count, uintptr_t results, uintptr_t total):
        self.append(self.table.total_loss(self.new_step(), count, <double *>results, <double *>total))

    def sgd(self, ranges, uintptr_t hyper, uintptr_t guard, uintptr_t w, uintptr_t g, uintptr_t velocity):
        cdef Ranges r = Ranges(ranges)
        self.append(self.table.sgd(self.new_step(), r.data, r.count, <double *>hyper, <double *>guard, <void *>w,
                                   <void *>g, <void *>velocity))

    def sdlm(self, ranges, uintptr_t hyper, uintptr_t guard, uintptr_t w, uintptr_t g, uintptr_t curvature):
        cdef Ranges r = Ranges(ranges)
        self.append(self.table.sdlm(self.new_step(), r.data, r.count, <double *>hyper, <double *>guard, <void *>w,
                                    <void *>g, <void *>curvature))

    def adam(self, ranges, uintptr_t hyper, uintptr_t guard, uintptr_t w, uintptr_t g, uintptr_t m, uintptr_t v):
        cdef Ranges r = Ranges(ranges)
        self.append(self.table.adam(self.new_step(), r.data, r.count, <double *>hyper, <double *>guard, <void *>w,
                                    <void *>g, <void *>m, <void *>v))

    def rmsprop(self, ranges, uintptr_t hyper, uintptr_t guard, uintptr_t w, uintptr_t g, uintptr_t square,
                uintptr_t velocity):
        cdef Ranges r = Ranges(ranges)
        self.append(self.table.rmsprop(self.new_step(), r.data, r.count, <double *>hyper, <double *>guard, <void *>w,
                                       <void *>g, <void *>square, <void *>velocity))

    def clip_norm(self, ranges, uintptr_t limit, uintptr_t g, uintptr_t scale, uintptr_t norm):
        cdef Ranges r = Ranges(ranges)
        self.append(self.table.clip_norm(self.new_step(), r.data, r.count, <double *>limit, <void *>g,
                                         <double *>scale, <double *>norm))


cdef const unsigned char *flags(bytes learns) except? NULL:
    """The bytes of `learns`, or NULL where it is None; the caller holds on to them."""
    if learns is None:
        return NULL
    return learns


cdef class Connections:
    """(n, c, k, ((map, source), ...), window, learns) as C has it."""

    cdef pycnn_connections data
    cdef pycnn_connection *pairs
    cdef bytes learns

    def __cinit__(self, connections):
        cdef int64_t i
        n, c, k, pairs, window, self.learns = connections
        self.pairs = <pycnn_connection *>calloc(len(pairs) + 1, sizeof(pycnn_connection))
        if self.pairs is NULL:
            raise MemoryError()
        for i in range(len(pairs)):
            self.pairs[i].map, self.pairs[i].source = pairs[i]
        self.data.n, self.data.c, self.data.k, self.data.count = n, c, k, len(pairs)
        self.data.window = to_window(window)
        self.data.connection = self.pairs
        self.data.learns = flags(self.learns)

    def __dealloc__(self):
        free(self.pairs)


cdef class Ranges:
    """[(begin, end), ...] as C has it."""

    cdef pycnn_range *data
    cdef int64_t count

    def __cinit__(self, ranges):
        cdef int64_t i
        self.count = len(ranges)
        self.data = <pycnn_range *>calloc(self.count + 1, sizeof(pycnn_range))
        if self.data is NULL:
            raise MemoryError()
        for i in range(self.count):
            self.data[i].begin, self.data[i].end = ranges[i]

    def __dealloc__(self):
        free(self.data)
