/* Convolution: forward with its activation and pooling, and both gradients, in all layouts. */
#include "naive.h"

/* Filters, channels and samples; along depth, height and width the size, kernel, stride, dilation and padding. */
typedef struct {
    int64_t n, c, k, groups, in[3], kernel[3], stride[3], dilation[3], before[3], after[3];
} conv_case;

#define FLAT(size) {1, size, size}
#define FLAT0(size) {0, size, size}

/* Shapes that select each way of computing a convolution. */
static const conv_case fixed[] = {
    /* 3x3, stride 1, wide: also what Winograd's algorithm is for */
    {2, 32, 32, 1, FLAT(12), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    {1, 64, 48, 1, {1, 9, 14}, FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    {1, 33, 35, 1, FLAT(11), FLAT(3), FLAT(1), FLAT(1), FLAT0(0), FLAT0(2)},
    {1, 40, 20, 1, FLAT(40), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    /* depthwise */
    {2, 40, 40, 40, FLAT(10), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    {3, 32, 32, 32, FLAT(11), FLAT(3), FLAT(2), FLAT(1), FLAT0(1), FLAT0(1)},
    {2, 16, 32, 16, FLAT(7), FLAT(5), FLAT(1), FLAT(1), FLAT0(2), FLAT0(1)},
    /* groups of four, of three, of whole vectors */
    {2, 32, 32, 8, FLAT(9), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    {2, 12, 20, 4, FLAT(8), FLAT(3), FLAT(2), FLAT(1), FLAT0(1), FLAT0(0)},
    {1, 32, 64, 2, FLAT(6), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    /* few channels, with a small batch and with a large one */
    {2, 3, 16, 1, FLAT(19), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
    {1, 1, 6, 1, FLAT(28), FLAT(5), FLAT(1), FLAT(1), FLAT0(2), FLAT0(2)},
    {33, 6, 16, 1, FLAT(8), FLAT(5), FLAT(1), FLAT(1), FLAT0(0), FLAT0(0)},
    {1, 3, 12, 1, FLAT(31), FLAT(11), FLAT(4), FLAT(1), FLAT0(0), FLAT0(0)},
    {2, 3, 20, 1, FLAT(20), FLAT(7), FLAT(2), FLAT(1), FLAT0(3), FLAT0(3)},
    /* 1x1, also with a stride */
    {3, 40, 36, 1, FLAT(6), FLAT(1), FLAT(1), FLAT(1), FLAT0(0), FLAT0(0)},
    {2, 32, 48, 1, FLAT(16), FLAT(1), FLAT(1), FLAT(1), FLAT0(0), FLAT0(0)},
    {2, 20, 33, 1, FLAT(9), FLAT(1), FLAT(2), FLAT(1), FLAT0(0), FLAT0(0)},
    /* dilated; transposed as in decoders; along one axis; over a volume */
    {1, 24, 18, 1, FLAT(13), FLAT(3), FLAT(1), FLAT(2), FLAT0(2), FLAT0(2)},
    {2, 16, 32, 1, FLAT(12), FLAT(4), FLAT(2), FLAT(1), FLAT0(1), FLAT0(1)},
    {18, 16, 4, 1, FLAT(8), FLAT(2), FLAT(2), FLAT(1), FLAT0(0), FLAT0(0)},
    {3, 30, 20, 1, {1, 1, 25}, {1, 1, 3}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}},
    {2, 5, 7, 1, {4, 5, 6}, {2, 3, 3}, {1, 2, 1}, {2, 1, 1}, {1, 1, 0}, {0, 1, 2}},
    /* as small as can be */
    {1, 1, 1, 1, FLAT(1), FLAT(1), FLAT(1), FLAT(1), FLAT0(0), FLAT0(0)},
    {1, 1, 2, 1, FLAT(1), FLAT(3), FLAT(1), FLAT(1), FLAT0(1), FLAT0(1)},
};

static conv_case drawn_case(void)
{
    conv_case s = {.n = draw_int(1, draw_int(0, 3) ? 4 : 35), .groups = draw_int(0, 2) ? 1 : draw_int(1, 8)};
    s.c = s.groups * draw_int(1, s.groups == 1 && draw_int(0, 1) ? 40 : 6);
    s.k = s.groups * draw_int(1, s.groups == 1 && draw_int(0, 1) ? 40 : 6);
    for (int a = 0; a < 3; a++) {
        const int flat = a == 0 && draw_int(0, 3);
        s.in[a] = flat ? 1 : draw_int(1, a == 0 ? 3 : 12);
        s.kernel[a] = flat ? 1 : draw_int(1, a == 0 ? 3 : 5);
        s.stride[a] = flat ? 1 : draw_int(1, 3);
        s.dilation[a] = flat ? 1 : draw_int(1, 2);
        const int64_t span = (s.kernel[a] - 1) * s.dilation[a];
        s.before[a] = draw_int(0, span);
        s.after[a] = draw_int(0, span);
        if (s.in[a] + s.before[a] + s.after[a] <= span) s.in[a] = span + 1;
    }
    return s;
}

/* A case with its numbers, and what its passes must give. */
typedef struct {
    pycnn_conv conv;
    pycnn_connections all;              /* every filter with every channel of its group */
    int64_t in, out, taps, weights;
    double *x, *w, *dy, *bias;
    double *y, *dx, *dw, *db;           /* without bias */
    double *y_bound, *dx_bound, *dw_bound, *db_bound;
} example;

/* Whether an algorithm may compute it that rounds otherwise than the plain sum. */
static int may_be_transformed(const pycnn_conv *c)
{
    return c->winograd && c->groups == 1 && volume(c->window.stride) == 1 && volume(c->window.kernel) > 1;
}

/* Of three sums of products, the sums and what rounding may do to them. */
static void expect(example *e, direction d, double *x, double *w, double *y, double **sum, double **bound)
{
    const int64_t nx = e->conv.n * e->conv.c * e->in, ny = e->conv.n * e->conv.k * e->out;
    const int64_t size = d == FORWARD ? ny : d == BACKWARD_DATA ? nx : e->weights;
    *sum = zeros(size), *bound = zeros(size);
    correlate(&e->all, d, d == BACKWARD_DATA ? *sum : x, d == BACKWARD_WEIGHTS ? *sum : w, d == FORWARD ? *sum : y);
    correlate(&e->all, d, d == BACKWARD_DATA ? *bound : magnitudes(x, nx),
              d == BACKWARD_WEIGHTS ? *bound : magnitudes(w, e->weights), d == FORWARD ? *bound : magnitudes(y, ny));
    const double terms = d == BACKWARD_WEIGHTS ? (double)(e->conv.n * e->out)
                       : (double)(e->taps * (d == FORWARD ? e->conv.c : e->conv.k)) / (double)e->conv.groups;
    rounding(*bound, size, terms);
    /* The transformed sums of Winograd's algorithm mix neighbours: their rounding follows the largest. */
    if (!may_be_transformed(&e->conv)) return;
    double most = 0;
    for (int64_t i = 0; i < size; i++) most = fmax(most, (*bound)[i]);
    for (int64_t i = 0; i < size; i++) (*bound)[i] = most;
}

static example make_example(const conv_case *s, int winograd)
{
    example e = {.conv = {make_window(s->in, s->kernel, s->stride, s->dilation, s->before, s->after, 0),
                          s->n, s->c, s->k, s->groups, winograd}};
    const int64_t sources = s->c / s->groups, filters = s->k / s->groups;
    e.in = volume(e.conv.window.in), e.out = volume(e.conv.window.out), e.taps = volume(e.conv.window.kernel);
    e.weights = s->k * sources * e.taps;
    pycnn_connection *list = fenced((size_t)(s->k * sources) * sizeof *list);
    for (int64_t k = 0; k < s->k; k++)
        for (int64_t c = 0; c < sources; c++) list[k * sources + c] = (pycnn_connection){k, k / filters * sources + c};
    e.all = (pycnn_connections){e.conv.window, s->n, s->c, s->k, s->k * sources, list, NULL};
    e.x = numbers(s->n * s->c * e.in, -1, 1);
    e.dy = numbers(s->n * s->k * e.out, -1, 1);
    e.w = numbers(e.weights, -1, 1);
    e.bias = numbers(s->c > s->k ? s->c : s->k, -1, 1);
    expect(&e, FORWARD, e.x, e.w, e.dy, &e.y, &e.y_bound);
    expect(&e, BACKWARD_DATA, e.x, e.w, e.dy, &e.dx, &e.dx_bound);
    expect(&e, BACKWARD_WEIGHTS, e.x, e.w, e.dy, &e.dw, &e.dw_bound);
    e.db = zeros(s->k), e.db_bound = zeros(s->k);
    for (int64_t i = 0; i < s->n * s->k * e.out; i++) {
        e.db[i / e.out % s->k] += e.dy[i];
        e.db_bound[i / e.out % s->k] += fabs(e.dy[i]);
    }
    rounding(e.db_bound, s->k, (double)(s->n * e.out));
    return e;
}

/* f(sum + bias of its channel), and its bound; no f stretches by more than 1.2. */
static double *activated(const double *sum, double *bound, const double *bias, pycnn_activation f, int64_t size,
                         int64_t channels, int64_t positions)
{
    double *y = zeros(size);
    for (int64_t i = 0; i < size; i++) {
        y[i] = activation_value(f, sum[i] + (bias ? bias[i / positions % channels] : 0));
        bound[i] = 1.2 * bound[i] + 8 * epsilon() * fmax(1, fabs(y[i]));
    }
    return y;
}

static double *copied(const double *a, int64_t n)
{
    double *b = zeros(n);
    memcpy(b, a, (size_t)n * sizeof *b);
    return b;
}

static void *packed_weights(const example *e, pycnn_layout layout, pycnn_layout x_layout, int backward,
                            const double *bias)
{
    const int64_t channels = backward ? e->conv.c : e->conv.k;
    void *packed = buffer(kernels->conv_packed_size(&e->conv, layout, x_layout, backward));
    RUN(conv_pack, &e->conv, layout, x_layout, backward, buffer_of(e->w, e->weights),
        bias ? buffer_of(bias, channels) : NULL, packed);
    return packed;
}

/* NULL, or a tensor like `sums` that is to be added to them, as it is here. */
static const void *draw_added(double *sums, double *bound, pycnn_layout layout, int64_t n, int64_t c, int64_t positions)
{
    const int64_t size = n * c * positions;
    if (draw_int(0, 1)) return NULL;
    double *others = numbers(size, -1, 1);
    for (int64_t i = 0; i < size; i++) {
        sums[i] += others[i];
        bound[i] += 2 * epsilon() * (fabs(others[i]) + fabs(sums[i]));
    }
    return tensor_of(others, layout, n, c, positions, 1);
}

static void test_forward(const example *e, pycnn_layout layout, pycnn_layout x_layout)
{
    const pycnn_conv *c = &e->conv;
    const int64_t size = c->n * c->k * e->out;
    const double *bias = draw_int(0, 1) ? e->bias : NULL;
    const pycnn_activation f = draw_activation();
    double *bound = copied(e->y_bound, size), *sums = copied(e->y, size);
    const void *added = draw_added(sums, bound, layout, c->n, c->k, e->out);
    double *want = activated(sums, bound, bias, f, size, c->k, e->out);
    const void *x = tensor_of(e->x, x_layout, c->n, c->c, e->in, 0);
    const void *packed = packed_weights(e, layout, x_layout, 0, bias);
    void *y = buffer(tensor_size(layout, c->n, c->k, e->out));
    RUN(conv_forward, c, layout, x_layout, f, NULL, x, packed, added, y, NULL);
    compare("y", read_tensor(y, layout, c->n, c->k, e->out, 0), want, bound, size);
    if (c->window.out[0] != 1 || added) return;

    /* The same under a maximum. */
    const int64_t ones[3] = {1, 1, 1}, none[3] = {0, 0, 0};
    int64_t kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, before[3] = {0, 0, 0};
    for (int a = 1; a < 3; a++) {
        kernel[a] = draw_int(1, c->window.out[a] < 3 ? c->window.out[a] : 3);
        stride[a] = draw_int(0, 1) ? kernel[a] : draw_int(1, 3);
        before[a] = draw_int(0, 1) ? 0 : draw_int(0, kernel[a] / 2);
    }
    const pycnn_window pool = make_window(c->window.out, kernel, stride, ones, before, none, 0);
    if (!kernels->conv_fuses_pool(c, layout, x_layout, &pool)) return;
    const int64_t pooled = volume(pool.out), planes = c->n * c->k, taps = volume(kernel);
    double *maxima = zeros(planes * pooled), *maxima_bound = zeros(planes * pooled);
    for (int64_t i = 0; i < planes * pooled; i++) {
        maxima[i] = -INFINITY;
        for (int64_t t = 0; t < taps; t++) {
            const int64_t at = input_of(&pool, i % pooled, t);
            if (at < 0) continue;
            maxima[i] = fmax(maxima[i], want[i / pooled * e->out + at]);
            maxima_bound[i] = fmax(maxima_bound[i], bound[i / pooled * e->out + at]);
        }
    }
    void *top = buffer(tensor_size(layout, c->n, c->k, pooled));
    void *indices = draw_int(0, 2) ? buffer(tensor_size(layout, c->n, c->k, pooled)) : NULL;
    RUN(conv_forward, c, layout, x_layout, f, &pool, x, packed, NULL, top, indices);
    compare("pooled y", read_tensor(top, layout, c->n, c->k, pooled, 0), maxima, maxima_bound, planes * pooled);
    if (!indices) return;
    int right = 1;
    for (int64_t i = 0; i < planes * pooled; i++) {
        const int64_t n = i / pooled / c->k, k = i / pooled % c->k;
        const int64_t t = read_index(indices, tensor_at(layout, c->k, pooled, n, k, i % pooled));
        const int64_t at = t < 0 || t >= taps ? -1 : input_of(&pool, i % pooled, t);
        right &= at >= 0 && want[i / pooled * e->out + at] >= maxima[i] - 2 * maxima_bound[i];
    }
    check(right, "each index is that of a maximum");
}

static void test_backward_data(const example *e, pycnn_layout layout, pycnn_layout x_layout)
{
    const pycnn_conv *c = &e->conv;
    const int64_t size = c->n * c->c * e->in;
    const void *dy = tensor_of(e->dy, layout, c->n, c->k, e->out, 1);
    void *dx = buffer(tensor_size(x_layout, c->n, c->c, e->in));
    pycnn_activation f = draw_activation();
    const pycnn_activation identity = {PYCNN_IDENTITY, 0};

    double *values = numbers(size, -0.9, 0.9), *want = copied(e->dx, size), *bound = copied(e->dx_bound, size);
    const void *added = draw_added(want, bound, x_layout, c->n, c->c, e->in);
    for (int64_t i = 0; i < size; i++) {
        const double slope = activation_slope(f, values[i]);
        bound[i] = fmax(1, fabs(slope)) * bound[i] + 8 * epsilon() * fabs(want[i]);
        want[i] *= slope;
    }
    RUN(conv_backward_data, c, layout, x_layout, identity, f, dy, packed_weights(e, layout, x_layout, 1, NULL),
        tensor_of(values, x_layout, c->n, c->c, e->in, 0), added, dx);
    compare("dx", read_tensor(dx, x_layout, c->n, c->c, e->in, 1), want, bound, size);

    /* As the forward pass of a transposed convolution. */
    f = draw_activation();
    bound = copied(e->dx_bound, size), want = activated(e->dx, bound, e->bias, f, size, c->c, e->in);
    RUN(conv_backward_data, c, layout, x_layout, f, identity, dy, packed_weights(e, layout, x_layout, 1, e->bias), NULL, NULL,
        dx);
    compare("transposed y", read_tensor(dx, x_layout, c->n, c->c, e->in, 0), want, bound, size);
}

static void test_backward_weights(const example *e, pycnn_layout layout, pycnn_layout x_layout)
{
    const pycnn_conv *c = &e->conv;
    const int64_t per_filter = e->weights / c->k;
    const int accumulate = (int)draw_int(0, 1), some = !draw_int(0, 3);
    uint8_t *learns = fenced((size_t)c->k);
    for (int64_t k = 0; k < c->k; k++) learns[k] = !some || draw_int(0, 2);
    double *dw = numbers(e->weights, -1, 1), *db = numbers(c->k, -1, 1);
    void *dw_buffer = buffer_of(dw, e->weights), *db_buffer = buffer_of(db, c->k);
    void *partial = buffer(kernels->conv_partial_size(c, layout, x_layout));
    RUN(conv_backward_weights, c, layout, x_layout, some ? learns : NULL,
        tensor_of(e->dy, layout, c->n, c->k, e->out, 1), tensor_of(e->x, x_layout, c->n, c->c, e->in, 0), partial);
    RUN(conv_reduce_weights, c, layout, x_layout, accumulate, partial, dw_buffer, db_buffer);

    double *got = read_buffer(dw_buffer, e->weights), *got_bias = read_buffer(db_buffer, c->k);
    double *bound = copied(e->dw_bound, e->weights), *bias_bound = copied(e->db_bound, c->k);
    for (int64_t i = 0; i < e->weights; i++) {
        dw[i] = e->dw[i] + (accumulate ? dw[i] : 0);
        bound[i] += epsilon() * 2;
        if (!learns[i / per_filter]) got[i] = dw[i];
    }
    for (int64_t k = 0; k < c->k; k++) {
        db[k] = e->db[k] + (accumulate ? db[k] : 0);
        bias_bound[k] += epsilon() * 2;
        if (!learns[k]) got_bias[k] = db[k];
    }
    compare("dw", got, dw, bound, e->weights);
    compare("db", got_bias, db, bias_bound, c->k);
}

static void test_case(const conv_case *s, int winograd)
{
    static const struct { const char *name; pycnn_layout y, x; } layouts[] = {
        {"samples", PYCNN_SAMPLES, PYCNN_SAMPLES},
        {"channels", PYCNN_CHANNELS, PYCNN_CHANNELS},
        {"channels from plain", PYCNN_CHANNELS, PYCNN_PLAIN},
        {"plain from channels", PYCNN_PLAIN, PYCNN_CHANNELS},
        {"plain", PYCNN_PLAIN, PYCNN_PLAIN},
    };
    example e;
    for (int l = 0; l < 5; l++) {
        const int y_plain = layouts[l].y == PYCNN_PLAIN, x_plain = layouts[l].x == PYCNN_PLAIN;
        if ((x_plain || y_plain) && s->groups != 1) continue;
#define AXES(a) (long long)s->a[0], (long long)s->a[1], (long long)s->a[2]
        begin_case("convolution in %s, %lldx%lldx%lldx%lldx%lld to %lld, kernel %lldx%lldx%lld, stride %lldx%lldx%lld, "
                   "groups %lld%s", layouts[l].name, (long long)s->n, (long long)s->c, AXES(in), (long long)s->k,
                   AXES(kernel), AXES(stride), (long long)s->groups, winograd ? ", Winograd" : "");
        if (l == 0) e = make_example(s, winograd);
        test_forward(&e, layouts[l].y, layouts[l].x);
        if (x_plain || !y_plain) test_backward_data(&e, layouts[l].y, layouts[l].x);
        if (!y_plain) test_backward_weights(&e, layouts[l].y, layouts[l].x);
    }
    end_case();
}

void test_conv(void)
{
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        for (int winograd = 0; winograd <= 2 * (fixed[i].groups == 1 && volume(fixed[i].stride) == 1); winograd += 2)
            test_case(&fixed[i], winograd);
    for (int i = 0; i < 60; i++) {
        const conv_case s = drawn_case();
        test_case(&s, i % 2 * 2);
    }
}
