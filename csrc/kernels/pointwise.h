/* Maps over n reals whose slope needs x, not y:
 *
 *     gelu            x Phi(x)                        Phi(x) + x e^(-x^2/2) / sqrt(2 pi)
 *     gelu, by tanh   x s,  s = sigmoid(2 u),         s + 2 x s (1 - s) u'
 *                     u = sqrt(2/pi) (x + 0.044715 x^3)
 *     silu            x s,  s = sigmoid(x)            s (1 + x (1 - s))
 *     hard sigmoid    a x + b within 0 and 1          a within, else 0
 *     hard swish      x h,  h = hard sigmoid(x)       x/3 + 1/2 where h is within, else h;   a = 1/6, b = 1/2
 *     mish            x t,  t = tanh(log(1 + e^x))    t + 4 x e (1 + e) / (p + 2)^2,   e = e^x, p = e (e + 2), t = p / (p + 2)
 *     softsign        x / (1 + |x|)                   1 / (1 + |x|)^2
 *     clip            x within a and b                1 within, else 0
 *
 * (Hendrycks & Gimpel 2016, arXiv:1606.08415; Elfwing et al. 2018, arXiv:1702.03118; Howard et al. 2019, arXiv:1905.02244;
 * Misra 2019, arXiv:1908.08681.) Phi is the normal distribution. A task is a run of ELEMENTS_PER_TASK reals. Bound by memory,
 * but for what needs exponentials. */

#define GELU_ROOT ((real)0.79788456080286535588)        /* sqrt(2/pi) */
#define GELU_CUBE ((real)0.044715)
#define NORMAL_DENSITY ((real)0.39894228040143267794)   /* 1 / sqrt(2 pi) */
#define SATURATED ((real)25)                            /* beyond, the slopes of gelu by tanh and mish are 0 or 1 */

/* The nearest number of [low, high], or the NaN that x is. */
INLINE vec vwithin(real low, real high, vec x) { return vmin(vset1(high), vmax(vset1(low), x)); }

/* `yes` where low < x < high. */
INLINE vec vinside(real low, real high, vec x, vec yes, vec no)
{
    return vselect(vgt(vset1(high), x), vselect(vgt(x, vset1(low)), yes, no), no);
}

/* sigmoid(x), and what it lacks to 1: neither loses digits. */
typedef struct { vec s, rest; } gate_parts;

INLINE gate_parts vgate(vec x)
{
    const vec e = vexp(-vabs(x)), large = vset1(1) / (vset1(1) + e), small = e * large;
    const vmask positive = vgt(x, vset1(0));
    return (gate_parts){vselect(positive, large, small), vselect(positive, small, large)};
}

/* 2 u */
INLINE vec gelu_argument(vec x) { return vset1(2 * GELU_ROOT) * vfma(vset1(GELU_CUBE) * x * x, x, x); }

/* e (e + 2). */
INLINE vec mish_product(vec e) { return e * (e + vset1(2)); }

INLINE vec pointwise_of(const pycnn_pointwise_kind kind, real a, real b, vec x)
{
    const vec one = vset1(1), sixth = vset1((real)(1.0 / 6)), half = vset1((real)0.5);
    switch (kind) {
    case PYCNN_GELU: return x * vnormal(x).below;
    case PYCNN_GELU_TANH: return x * vsigmoid(gelu_argument(x));
    case PYCNN_SILU: return x * vsigmoid(x);
    case PYCNN_HARD_SIGMOID: return vwithin(0, 1, vfma(vset1(a), x, vset1(b)));
    case PYCNN_HARD_SWISH: return x * vwithin(0, 1, vfma(sixth, x, half));
    case PYCNN_MISH: {
        const vec p = mish_product(vexp(vmin(vset1(SATURATED), x)));
        return x * (p / (p + vset1(2)));
    }
    case PYCNN_SOFTSIGN: return x / (one + vabs(x));
    default: return vwithin(a, b, x);
    }
}

INLINE vec pointwise_slope(const pycnn_pointwise_kind kind, real a, real b, vec x)
{
    const vec zero = vset1(0), one = vset1(1), two = vset1(2);
    switch (kind) {
    case PYCNN_GELU: {
        const normal_parts n = vnormal(x);
        return vfma(vset1(NORMAL_DENSITY) * x, n.bell, n.below);
    }
    case PYCNN_GELU_TANH: {
        const vec near = vwithin(-SATURATED, SATURATED, x);
        const vec slope = vset1(2 * GELU_ROOT) * vfma(vset1(3 * GELU_CUBE) * near, near, one);
        const gate_parts g = vgate(gelu_argument(near));
        return vfma(near * g.s * g.rest, slope, g.s);
    }
    case PYCNN_SILU: {
        const gate_parts g = vgate(x);
        return vfma(x * g.s, g.rest, g.s);
    }
    case PYCNN_HARD_SIGMOID: return vinside(-b / a, (1 - b) / a, x, vset1(a), zero);
    case PYCNN_HARD_SWISH: {
        const vec beyond = vselect(vgt(x, zero), one, zero);
        return vinside(-3, 3, x, vfma(vset1((real)(1.0 / 3)), x, vset1((real)0.5)), beyond);
    }
    case PYCNN_MISH: {
        const vec near = vmin(vset1(SATURATED), x), e = vexp(near), p = mish_product(e), q = one / (p + two);
        return vfma(vset1(4) * near * e * q, (one + e) * q, p * q);
    }
    case PYCNN_SOFTSIGN: {
        const vec r = one / (one + vabs(x));
        return r * r;
    }
    default: return vinside(a, b, x, one, zero);
    }
}

typedef struct {
    pycnn_pointwise f;
    int64_t n;
    const real *x, *dy;
    real *y;
} pointwise_args;

#define EACH_POINTWISE(CASE)                                                                                           \
    CASE(PYCNN_GELU) CASE(PYCNN_GELU_TANH) CASE(PYCNN_SILU) CASE(PYCNN_HARD_SIGMOID) CASE(PYCNN_HARD_SWISH)            \
    CASE(PYCNN_MISH) CASE(PYCNN_SOFTSIGN) CASE(PYCNN_CLIP)

/* Each kind has loops of its own. */
INLINE void map_pointwise(const pycnn_pointwise_kind kind, const pointwise_args *p, pycnn_range r)
{
    const real a = (real)p->f.a, b = (real)p->f.b;
    for (int64_t i = r.begin; i < r.end; i += V)
        vstore_upto(p->y + i, pointwise_of(kind, a, b, vload_upto(p->x + i, r.end - i)), r.end - i);
}

INLINE void map_pointwise_gradient(const pycnn_pointwise_kind kind, const pointwise_args *p, pycnn_range r)
{
    const real a = (real)p->f.a, b = (real)p->f.b;
    for (int64_t i = r.begin; i < r.end; i += V) {
        const vec slope = pointwise_slope(kind, a, b, vload_upto(p->x + i, r.end - i));
        vstore_upto(p->y + i, slope * vload_upto(p->dy + i, r.end - i), r.end - i);
    }
}

static void run_pointwise_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const pointwise_args *p = args;
    const pycnn_range r = elements_of_tasks(p->n, begin, end);
    (void)scratch;
#define MAP(kind) case kind: map_pointwise(kind, p, r); return;
    switch (p->f.kind) { EACH_POINTWISE(MAP) }
#undef MAP
}

static int pointwise_forward(pycnn_step *step, pycnn_pointwise f, int64_t n, const void *x, void *y)
{
    const pointwise_args p = {.f = f, .n = n, .x = x, .y = y};
    return PREPARE(step, run_pointwise_forward, elementwise_tasks(n), 0, p);
}

static void run_pointwise_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const pointwise_args *p = args;
    const pycnn_range r = elements_of_tasks(p->n, begin, end);
    (void)scratch;
#define MAP(kind) case kind: map_pointwise_gradient(kind, p, r); return;
    switch (p->f.kind) { EACH_POINTWISE(MAP) }
#undef MAP
}

static int pointwise_backward(pycnn_step *step, pycnn_pointwise f, int64_t n, const void *dy, const void *x, void *dx)
{
    const pointwise_args p = {.f = f, .n = n, .x = x, .dy = dy, .y = dx};
    return PREPARE(step, run_pointwise_backward, elementwise_tasks(n), 0, p);
}
