/* Maps over n reals, whatever their layout: activations and their gradients, sums, products, copies.
 *
 * The gradient of an activation is taken from its output y, so that x need not be kept:
 *
 *     relu            max(0, x)               [y > 0]
 *     leaky relu      x or alpha x            1 or alpha
 *     elu             x or alpha (e^x - 1)    1 or y + alpha
 *     sigmoid         1 / (1 + e^-x)          y (1 - y)
 *     tanh            tanh x                  1 - y^2
 *     scaled tanh     A tanh(2 x / 3)         2/3 (A - y^2 / A),  A = 1.7159 (LeCun et al. 1998)
 *     softplus        log(1 + e^x)            1 - e^-y
 *     selu            S x or S A (e^x - 1)    S or y + S A (Klambauer et al. 2017, arXiv:1706.02515, eq. 2)
 *
 * A task is a run of ELEMENTS_PER_TASK reals. Bound by memory, but for tanh and what needs logarithms: what is large is
 * streamed, unless it overwrites its source. */

#define TANH_AMPLITUDE ((real)1.7159)
#define TANH_SLOPE ((real)(2.0 / 3.0))
#define SELU_SLOPE ((real)1.0507009873554804934193349852946)
#define SELU_LOWEST ((real)(1.0507009873554804934193349852946 * 1.6732632423543772848170429916717))

INLINE vec vsoftplus(vec x) { return vmax(vset1(0), x) + vlog1p(vexp(-vabs(x))); }

INLINE vec activation_of(const pycnn_activation_kind kind, vec alpha, vec x)
{
    const vec zero = vset1(0);
    switch (kind) {
    case PYCNN_RELU: return vmax(zero, x);
    case PYCNN_LEAKY_RELU: return vselect(vgt(zero, x), alpha * x, x);
    case PYCNN_ELU: return vselect(vgt(x, zero), x, alpha * vexpm1(x));
    case PYCNN_SIGMOID: return vsigmoid(x);
    case PYCNN_TANH: return vtanh(x);
    case PYCNN_SCALED_TANH: return vset1(TANH_AMPLITUDE) * vtanh(vset1(TANH_SLOPE) * x);
    case PYCNN_SOFTPLUS: return vsoftplus(x);
    case PYCNN_SELU: return vselect(vgt(x, zero), vset1(SELU_SLOPE) * x, vset1(SELU_LOWEST) * vexpm1(x));
    default: return x;
    }
}

INLINE vec gradient_of(const pycnn_activation_kind kind, vec alpha, vec y, vec dy)
{
    const vec zero = vset1(0), one = vset1(1);
    switch (kind) {
    case PYCNN_RELU: return vselect(vgt(y, zero), dy, zero);
    case PYCNN_LEAKY_RELU: return vselect(vgt(y, zero), dy, alpha * dy);
    case PYCNN_ELU: return vselect(vgt(y, zero), dy, (y + alpha) * dy);
    case PYCNN_SIGMOID: return y * (one - y) * dy;
    case PYCNN_TANH: return (one - y * y) * dy;
    case PYCNN_SCALED_TANH: return vset1(TANH_SLOPE) * (vset1(TANH_AMPLITUDE) - y * y / vset1(TANH_AMPLITUDE)) * dy;
    case PYCNN_SOFTPLUS: return -vexpm1(-y) * dy;
    case PYCNN_SELU: return vselect(vgt(y, zero), vset1(SELU_SLOPE) * dy, (y + vset1(SELU_LOWEST)) * dy);
    default: return dy;
    }
}

INLINE void map_activation(const pycnn_activation_kind kind, double alpha, const int streamed, const real *x, real *y,
                           int64_t n)
{
    const vec a = vset1((real)alpha);
    for (int64_t i = 0; i < n; i += V)
        vput_upto(streamed, y + i, activation_of(kind, a, vload_upto(x + i, n - i)), n - i);
}

INLINE void map_gradient(const pycnn_activation_kind kind, double alpha, const int streamed, const real *dy,
                         const real *y, real *dx, int64_t n)
{
    const vec a = vset1((real)alpha);
    for (int64_t i = 0; i < n; i += V)
        vput_upto(streamed, dx + i, gradient_of(kind, a, vload_upto(y + i, n - i), vload_upto(dy + i, n - i)), n - i);
}

/* The kinds that do something, each with a loop of its own. */
#define EACH_ACTIVATION(CASE)                                                                                          \
    CASE(PYCNN_RELU) CASE(PYCNN_LEAKY_RELU) CASE(PYCNN_ELU) CASE(PYCNN_SIGMOID) CASE(PYCNN_TANH)                       \
    CASE(PYCNN_SCALED_TANH) CASE(PYCNN_SOFTPLUS) CASE(PYCNN_SELU)

/* y = f(x); y may be x. */
static void activate_from(pycnn_activation f, const real *x, real *y, int64_t n)
{
#define MAP(kind) case kind: map_activation(kind, f.alpha, 0, x, y, n); return;
    switch (f.kind) {
    EACH_ACTIVATION(MAP)
    default: if (y != x) memcpy(y, x, (size_t)n * sizeof(real));
    }
#undef MAP
}

/* y = f(y). */
static void activate(pycnn_activation f, real *y, int64_t n) { activate_from(f, y, y, n); }

/* dx = f'(y) dy; dx may be dy or y. */
static void activation_gradient(pycnn_activation f, const real *dy, const real *y, real *dx, int64_t n)
{
#define MAP(kind) case kind: map_gradient(kind, f.alpha, 0, dy, y, dx, n); return;
    switch (f.kind) {
    EACH_ACTIVATION(MAP)
    default: if (dx != dy) memcpy(dx, dy, (size_t)n * sizeof(real));
    }
#undef MAP
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

INLINE int64_t elementwise_tasks(int64_t n) { return ceil_div(n, ELEMENTS_PER_TASK); }

/* The reals of the tasks begin .. end-1. */
INLINE pycnn_range elements_of_tasks(int64_t n, int64_t begin, int64_t end)
{
    return (pycnn_range){begin * ELEMENTS_PER_TASK, min64(n, end * ELEMENTS_PER_TASK)};
}

typedef struct {
    pycnn_activation f;
    int64_t n;
    int streamed;
    const real *x, *dy;
    real *y;
} activation_args;

/* The kinds that are bound by memory have a loop that streams. */
#define EACH_LIGHT_ACTIVATION(CASE) CASE(PYCNN_IDENTITY) CASE(PYCNN_RELU) CASE(PYCNN_LEAKY_RELU)

INLINE int is_light(pycnn_activation f)
{
#define LIGHT(kind) case kind:
    switch (f.kind) {
    EACH_LIGHT_ACTIVATION(LIGHT) return 1;
    default: return 0;
    }
#undef LIGHT
}

static void run_activation_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const activation_args *a = args;
    pycnn_range e = elements_of_tasks(a->n, begin, end);
    (void)scratch;
    if (!a->streamed) {
        activate_from(a->f, a->x + e.begin, a->y + e.begin, e.end - e.begin);
        return;
    }
#define MAP(kind) case kind: map_activation(kind, a->f.alpha, 1, a->x + e.begin, a->y + e.begin, e.end - e.begin); break;
    switch (a->f.kind) {
    EACH_LIGHT_ACTIVATION(MAP)
    default: break;
    }
#undef MAP
    stream_fence();
}

static int activation_forward(pycnn_step *step, pycnn_activation f, int64_t n, const void *x, void *y)
{
    activation_args a = {.f = f, .n = n, .x = x, .y = y};
    a.streamed = is_light(f) && x != y && is_streamable(y, 2 * n);
    return PREPARE(step, run_activation_forward, elementwise_tasks(n), 0, a);
}

static void run_activation_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const activation_args *a = args;
    pycnn_range e = elements_of_tasks(a->n, begin, end);
    const real *dy = a->dy + e.begin, *y = a->x + e.begin;
    (void)scratch;
    if (!a->streamed) {
        activation_gradient(a->f, dy, y, a->y + e.begin, e.end - e.begin);
        return;
    }
#define MAP(kind) case kind: map_gradient(kind, a->f.alpha, 1, dy, y, a->y + e.begin, e.end - e.begin); break;
    switch (a->f.kind) {
    EACH_LIGHT_ACTIVATION(MAP)
    default: break;
    }
#undef MAP
    stream_fence();
}

static int activation_backward(pycnn_step *step, pycnn_activation f, int64_t n, const void *dy, const void *y, void *dx)
{
    activation_args a = {.f = f, .n = n, .x = y, .dy = dy, .y = dx};
    a.streamed = is_light(f) && dx != dy && dx != y && is_streamable(dx, 3 * n);
    return PREPARE(step, run_activation_backward, elementwise_tasks(n), 0, a);
}

typedef struct {
    int64_t n, count;
    const real **xs;
    real *y;
} sum_args;

static void release_sum(void *args) { free(((sum_args *)args)->xs); }

static void run_sum(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const sum_args *a = args;
    const pycnn_range e = elements_of_tasks(a->n, begin, end);
    (void)scratch;
    for (int64_t i = e.begin; i < e.end; i += V) {
        vec y = vset1(0);
        for (int64_t j = 0; j < a->count; j++) y += vload_upto(a->xs[j] + i, e.end - i);
        vstore_upto(a->y + i, y, e.end - i);
    }
}

static int sum(pycnn_step *step, int64_t n, int64_t count, const void *const *xs, void *y)
{
    sum_args a = {.n = n, .count = count, .y = y, .xs = malloc((size_t)max64(count, 1) * sizeof(*a.xs))};
    if (!a.xs) return PYCNN_NO_MEMORY;
    for (int64_t j = 0; j < count; j++) a.xs[j] = xs[j];
    int status = PREPARE(step, run_sum, elementwise_tasks(n), 0, a);
    if (status == PYCNN_OK) step->release = release_sum;
    else free(a.xs);
    return status;
}

typedef struct {
    int64_t n;
    const real *a, *b;
    real *y;
} multiply_args;

static void run_multiply(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const multiply_args *m = args;
    const pycnn_range e = elements_of_tasks(m->n, begin, end);
    (void)scratch;
    for (int64_t i = e.begin; i < e.end; i += V)
        vstore_upto(m->y + i, vload_upto(m->a + i, e.end - i) * vload_upto(m->b + i, e.end - i), e.end - i);
}

static int multiply(pycnn_step *step, int64_t n, const void *a, const void *b, void *y)
{
    multiply_args m = {.n = n, .a = a, .b = b, .y = y};
    return PREPARE(step, run_multiply, elementwise_tasks(n), 0, m);
}

typedef struct {
    int64_t n;
    real value;
    real *y;
} fill_args;

static void run_fill(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const fill_args *f = args;
    const pycnn_range e = elements_of_tasks(f->n, begin, end);
    (void)scratch;
    for (int64_t i = e.begin; i < e.end; i += V) vstore_upto(f->y + i, vset1(f->value), e.end - i);
}

static int fill(pycnn_step *step, int64_t n, double value, void *y)
{
    const fill_args f = {.n = n, .value = (real)value, .y = y};
    return PREPARE(step, run_fill, elementwise_tasks(n), 0, f);
}

typedef struct {
    int64_t blocks, length, from_stride, to_stride;
    const real *from;
    real *to;
} copy_args;

static void run_copy_blocks(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const copy_args *c = args;
    const pycnn_range e = elements_of_tasks(c->blocks * c->length, begin, end);
    int64_t block = e.begin / c->length, offset = e.begin % c->length;
    (void)scratch;
    for (int64_t i = e.begin; i < e.end; block++, offset = 0) {
        int64_t run = min64(c->length - offset, e.end - i);
        memcpy(c->to + block * c->to_stride + offset, c->from + block * c->from_stride + offset,
               (size_t)run * sizeof(real));
        i += run;
    }
}

static int copy_blocks(pycnn_step *step, int64_t blocks, int64_t length, int64_t from_stride, int64_t to_stride,
                       const void *from, void *to)
{
    copy_args c = {.blocks = blocks, .length = length, .from_stride = from_stride, .to_stride = to_stride,
                   .from = from, .to = to};
    return PREPARE(step, run_copy_blocks, elementwise_tasks(blocks * length), 0, c);
}
