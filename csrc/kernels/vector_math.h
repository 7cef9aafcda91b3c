/* Exponentials, logarithms and their kin on every lane of a vector.
 *
 *     e^x    = 2^n (1 + q),  n = round(x / ln 2),  q = e^r - 1 = r + r^2 (1/2 + r E(r)),  r = x - n ln 2
 *     log x  = k ln 2 + log(1 + f),  x = 2^k (1 + f),  sqrt 1/2 <= 1 + f < sqrt 2
 *     log(1 + f) = f - f^2/2 + s (f^2/2 + z L(z)),  s = f / (2 + f),  z = s^2
 *
 * as in Cephes (S. Moshier) and fdlibm (Sun Microsystems). E and L are minimax polynomials for the relative errors of q
 * and of log(1 + f): E 2^-29.8 in float, 2^-59.0 in double, L 2^-30.0 and 2^-59.2. ln 2 is the sum of a high part whose
 * multiples by n are exact and a low part. Functions err by at most 1 (exp, log, log1p) or 2 units in the last place
 * in float, 2.1 in double. Infinities and NaN come out as in C; denormal results may be zero, and denormal arguments
 * of log count as zero. No table, no branch: bound by the multiply-adds. */

#ifdef PYCNN_DOUBLE
typedef uint64_t lane_uint;
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define SQRT_HALF 0x1.6a09e667f3bcdp-1
#define REAL_MIN 0x1p-1022
#define REAL_MAX 0x1.fffffffffffffp1023
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define EXP_LOWEST (-746.0)     /* e^x is 0 below, */
#define EXP_HIGHEST 710.0       /* infinite above; */
#define SIGMOID_LOWEST (-709.0) /* 1 / (1 + e^-x) is 0 or denormal below; */
#define TANH_HIGHEST 20.0       /* tanh x is 1 above, and 1 +- e^-2x as well; */
#define NORMAL_HIGHEST 39.0     /* the normal distribution is 1 above, and 0 or denormal below its negative */
static const real exp_tail[] = {
    0x1.5555555555559p-3, 0x1.5555555555548p-5, 0x1.111111110f7d2p-7, 0x1.6c16c16c1cd36p-10, 0x1.a01a01af817ddp-13,
    0x1.a01a0182f62e5p-16, 0x1.71ddf9324c1edp-19, 0x1.27e52b345db48p-22, 0x1.af5d608a09476p-26, 0x1.1ef542578bcc9p-29,
};
static const real log_tail[] = {
    0x1.5555555555593p-1, 0x1.999999997fb1ap-2, 0x1.2492494218b27p-2, 0x1.c71c51e73845ap-3, 0x1.7466464f51f1ap-3,
    0x1.39a0f1d668849p-3, 0x1.2f0dabf2b6d9cp-3,
};
static const real normal_tail[] = {
    0x1.d8979b0f2b39dp-2, -0x1.76ff86859eb14p-4, 0x1.fc66cc64a145bp-6, 0x1.47c1d0305488fp-7, -0x1.b08e0007b6a3bp-6,
    0x1.92037bab4757ap-6, -0x1.f11aab02b2bbap-7, 0x1.ab6d038d45473p-8, -0x1.b75f4fa1ef08fp-10, 0x1.0571a2341cd75p-17,
    0x1.7e61e85ba9c1ap-13, -0x1.c1b1c6b5be1dep-15, -0x1.4c0fd9cf42480p-17, 0x1.3003953b2830dp-17, -0x1.2c3638e42e5aap-24,
    -0x1.5f33ba28439c1p-20, 0x1.1078e62c322b9p-23, 0x1.a76820332c336p-23, -0x1.ace4216aea953p-26, -0x1.0d0b365177dc7p-25,
    0x1.6e285754293d7p-29, 0x1.27e6b14b8a694p-28, 0x1.1ea95ad704182p-36, -0x1.3094bd31dc530p-32,
};
#else
typedef uint32_t lane_uint;
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define SQRT_HALF 0x1.6a09e6p-1f
#define REAL_MIN 0x1p-126f
#define REAL_MAX 0x1.fffffep127f
#define LN2_HIGH 0x1.63p-1f
#define LN2_LOW (-0x1.bd0106p-13f)
#define EXP_LOWEST (-104.0f)
#define EXP_HIGHEST 89.0f
#define SIGMOID_LOWEST (-88.0f)
#define TANH_HIGHEST 10.0f
#define NORMAL_HIGHEST 14.5f
static const real exp_tail[] = {
    0x1.555554p-3f, 0x1.5554f2p-5f, 0x1.1111cap-7f, 0x1.6d40bcp-10f, 0x1.9fbdf6p-13f,
};
static const real log_tail[] = {0x1.55557ap-1f, 0x1.995e9ap-2f, 0x1.31e68ap-2f};
static const real normal_tail[] = {
    0x1.d8979cp-2f, -0x1.76ff88p-4f, 0x1.fc66fcp-6f, 0x1.47c2fcp-7f, -0x1.b0922cp-6f, 0x1.91fcaep-6f,
    -0x1.f0d918p-7f, 0x1.ac1b6ap-8f, -0x1.be022cp-10f, -0x1.e0cbaap-16f, 0x1.b672aap-13f,
};
#endif

#define LOG2_E ((real)0x1.71547652b82fep0)
#define ONE_ULP_IS_ONE ((real)((lane_uint)1 << MANTISSA_BITS))      /* a real so large that its last bit counts ones */
#define ROUNDER ((real)1.5 * ONE_ULP_IS_ONE)

typedef lane_uint uvec __attribute__((vector_size(VECTOR_BYTES)));

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

/* The first min(n, V) lanes: for the loop `for (i = 0; i < n; i += V)` over n reals. */
INLINE vec vload_upto(const real *p, int64_t n) { return n >= V ? vload(p) : vload_first(p, n); }
INLINE void vstore_upto(real *p, vec a, int64_t n)
{
    if (n >= V) vstore(p, a);
    else vstore_first(p, a, n);
}

INLINE ivec ivset1(lane_int a) { return a - (ivec){0}; }

#ifndef PYCNN_OWN_NARROW
/* p[l] - from for the first n lanes, or the nearest number that a lane holds. */
INLINE ivec ivload_narrow_first(const int64_t *p, int64_t n, int64_t from)
{
    const int64_t most = (int64_t)(((uint64_t)1 << (8 * sizeof(lane_int) - 1)) - 1);
    ivec a = {0};
    for (int64_t l = 0; l < n; l++) {
        const int64_t d = p[l] - from;
        a[l] = (lane_int)(d > most ? most : d < -most ? -most : d);
    }
    return a;
}
#endif

/* The lanes from n on become `other`. */
INLINE vec vkeep_first(vec a, int64_t n, real other)
{
    static const real lane_numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return n >= V ? a : vselect(vgt(vset1((real)n), vload(lane_numbers)), a, vset1(other));
}

/* acc += a, in double. */
INLINE void add_lanes(double acc[V], vec a)
{
    real t[V];
    vstore(t, a);
    for (int l = 0; l < V; l++) acc[l] += (double)t[l];
}

/* acc += a^2, in double. */
INLINE void add_squares(double acc[V], vec a)
{
    real t[V];
    vstore(t, a);
    for (int l = 0; l < V; l++) acc[l] += (double)t[l] * (double)t[l];
}

INLINE double sum_of_lanes(double acc[V])
{
    for (int h = V / 2; h; h /= 2)
        for (int l = 0; l < h; l++) acc[l] += acc[l + h];
    return acc[0];
}

INLINE real vsum_lanes(vec a)
{
    real t[V];
    vstore(t, a);
    for (int h = V / 2; h; h /= 2)
        for (int l = 0; l < h; l++) t[l] += t[l + h];
    return t[0];
}

/* The larger of two, or the one that is NaN. */
INLINE vec vmax_or_nan(vec a, vec b) { return vselect(vunordered(a, a), a, vmax(a, b)); }

INLINE real vmax_lanes_or_nan(vec a)
{
    real t[V];
    vstore(t, a);
    for (int l = 1; l < V; l++)
        if (t[l] > t[0] || t[l] != t[l]) t[0] = t[l];
    return t[0];
}

/* ---- powers of two ----------------------------------------------------------------------------------------------- */

INLINE vec vabs(vec x) { return (vec)((uvec)x << 1 >> 1); }
INLINE vec vcopy_sign(vec x, vec sign) { return (vec)((uvec)x | ((uvec)sign ^ (uvec)vabs(sign))); }

INLINE vec vpolynomial(const real *c, const int terms, vec x)
{
    vec p = vset1(c[terms - 1]);
#pragma GCC unroll 16
    for (int i = terms - 2; i >= 0; i--) p = vfma(p, x, vset1(c[i]));
    return p;
}
#define VPOLYNOMIAL(c, x) vpolynomial(c, sizeof(c) / sizeof(*(c)), x)

INLINE vec nearest_integer(vec x) { return (x + vset1(ROUNDER)) - vset1(ROUNDER); }

/* 2^n of an integer n: the sum has n + bias in its last bits, and the shift puts them where the exponent belongs. */
INLINE vec power_of_two(vec n) { return (vec)((uvec)(n + vset1(ROUNDER + EXPONENT_BIAS)) << MANTISSA_BITS); }

/* a 2^n where 2^n alone may be out of range. */
INLINE vec scale_by_power_of_two(vec a, vec n)
{
    vec half = nearest_integer(n * vset1((real)0.5));
    return a * power_of_two(half) * power_of_two(n - half);
}

/* ---- exponentials ------------------------------------------------------------------------------------------------ */

/* e^x = 2^n (1 + q). */
typedef struct { vec n, q; } exp_parts;

/* e^r - 1 of an r that is at most half of ln 2. */
INLINE vec near_expm1(vec r)
{
    vec tail = vfma(VPOLYNOMIAL(exp_tail, r), r, vset1((real)0.5));
    return vfma(r * r, tail, r);
}

/* e^(x + low), low being small. */
INLINE exp_parts split_exp_of_sum(vec x, vec low)
{
    vec n = nearest_integer((x + low) * vset1(LOG2_E));
    return (exp_parts){n, near_expm1(vfma(n, vset1(-LN2_LOW), vfma(n, vset1(-LN2_HIGH), x)) + low)};
}

INLINE exp_parts split_exp(vec x)
{
    vec n = nearest_integer(x * vset1(LOG2_E));
    return (exp_parts){n, near_expm1(vfma(n, vset1(-LN2_LOW), vfma(n, vset1(-LN2_HIGH), x)))};
}

INLINE vec vexp(vec x)
{
    exp_parts e = split_exp(vmin(vset1(EXP_HIGHEST), vmax(vset1(EXP_LOWEST), x)));
    return scale_by_power_of_two(e.q + vset1(1), e.n);
}

/* e^x - 1 = 2 (s q + s - 1/2) with s = 2^(n-1), which is finite where e^x is. */
INLINE vec vexpm1(vec x)
{
    exp_parts e = split_exp(vmin(vset1(EXP_HIGHEST), vmax(vset1(-2 * TANH_HIGHEST), x)));
    vec s = power_of_two(e.n - vset1(1));
    vec half = vfma(s, e.q, s - vset1((real)0.5));
    return half + half;
}

/* tanh |x| = (1 - e) / (1 + e), e = e^-2|x| = s + s q. */
INLINE vec vtanh(vec x)
{
    exp_parts e = split_exp(vset1(-2) * vmin(vset1(TANH_HIGHEST), vabs(x)));
    vec s = power_of_two(e.n), one = vset1(1);
    return vcopy_sign(vfma(-s, e.q, one - s) / vfma(s, e.q, one + s), x);
}

/* 1 / (1 + e^-x), e^-x = s + s q; the larger of 1 and s is added last. */
INLINE vec vsigmoid(vec x)
{
    exp_parts e = split_exp(vmin(vset1(-SIGMOID_LOWEST), vmax(vset1(-2 * TANH_HIGHEST), -x)));
    vec s = power_of_two(e.n), one = vset1(1);
    vec y = one / (vmax(one, s) + vfma(s, e.q, vmin(one, s)));
    return vselect(vgt(vset1(SIGMOID_LOWEST), x), vset1(0), y);
}

/* ---- logarithms -------------------------------------------------------------------------------------------------- */

/* log(u (1 + c)) of a normal u > 0 and a c that is less than its last bit. */
INLINE vec log_with_correction(vec u, vec c)
{
    const uvec sqrt_half = (uvec)vset1(SQRT_HALF), one = (uvec)vset1(1);
    const uvec mantissa = one - one + (((lane_uint)1 << MANTISSA_BITS) - 1);
    uvec bits = (uvec)u + (one - sqrt_half);
    vec k = (vec)((bits >> MANTISSA_BITS) | (uvec)vset1(ONE_ULP_IS_ONE)) - vset1(ONE_ULP_IS_ONE + EXPONENT_BIAS);
    vec f = (vec)((bits & mantissa) + sqrt_half) - vset1(1);
    vec s = f / (f + vset1(2)), z = s * s, h = vset1((real)0.5) * f * f;
    vec low = vfma(k, vset1(LN2_LOW), c);
    return vfma(k, vset1(LN2_HIGH), f - (h - vfma(s, vfma(z, VPOLYNOMIAL(log_tail, z), h), low)));
}

/* log_u, or what log u is where u is not a positive, finite number. */
INLINE vec log_or_limit(vec u, vec log_u)
{
    vec below = vselect(vgt(vset1(0), u), vset1((real)NAN), vset1(-(real)INFINITY));
    log_u = vselect(vgt(vset1(REAL_MIN), u), below, log_u);
    return vselect(mask_or(vgt(u, vset1(REAL_MAX)), vunordered(u, u)), u, log_u);
}

INLINE vec vlog(vec x) { return log_or_limit(x, log_with_correction(x, vset1(0))); }

/* log(1 + x) = log u + (x - (u - 1)) / u, with u the rounded 1 + x. */
INLINE vec vlog1p(vec x)
{
    vec u = x + vset1(1), c = (x - (u - vset1(1))) / u;
    return log_or_limit(u, log_with_correction(u, c));
}

/* ---- circles ----------------------------------------------------------------------------------------------------- */

/* (-1)^k / (2k+1)! and (-1)^k / (2k)!, Taylor's: enough up to pi / 4 in double. */
static const real sine_terms[] = {
    1, -0x1.5555555555555p-3, 0x1.1111111111111p-7, -0x1.a01a01a01a01ap-13, 0x1.71de3a556c734p-19, -0x1.ae64567f544e4p-26,
    0x1.6124613a86d09p-33, -0x1.ae7f3e733b81fp-41,
};
static const real cosine_terms[] = {
    1, -0x1p-1, 0x1.5555555555555p-5, -0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-16, -0x1.27e4fb7789f5cp-22,
    0x1.1eed8eff8d898p-29, -0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-45,
};

/* sin and cos of 2 pi t for |t| <= 1/2: of the rest r = t - q / 4 within an eighth of a turn, turned by q quarters. */
INLINE void vsincos_of_turns(vec t, vec *sine, vec *cosine)
{
    const vec q = nearest_integer(vset1(4) * t), one = vset1(1), two = vset1(2);
    const vec a = vset1((real)0x1.921fb54442d18p2) * vfma(q, vset1((real)-0.25), t), z = a * a;
    const vec s = a * VPOLYNOMIAL(sine_terms, z), c = VPOLYNOMIAL(cosine_terms, z);
    const vmask quarter = veq(vabs(q), one), half = veq(vabs(q), two);
    *sine = vselect(quarter, q * c, vselect(half, -s, s));
    *cosine = vselect(quarter, -q * s, vselect(half, -c, c));
}

/* ---- the normal distribution ------------------------------------------------------------------------------------- */

/* Phi(x) = (1 + erf(x / sqrt 2)) / 2, and e^(-x^2/2). */
typedef struct { vec below, bell; } normal_parts;

/* Phi(-a) = e^(-a^2/2) T(q) / (1 + a),  a >= 0,  q = (a - 5) / (a + 5),  T a minimax polynomial for the relative error of
   the scaled complementary error function: 2^-28.5 in float, 2^-58.6 in double. a^2 is the sum of the exact square of its
   leading digits and a small rest, so that small values are as exact as large ones. */
INLINE normal_parts vnormal(vec x)
{
    const uvec leading = ~(uvec)ivset1(((lane_int)1 << (MANTISSA_BITS / 2 + 1)) - 1);
    const vec half = vset1((real)0.5), one = vset1(1), a = vmin(vset1(NORMAL_HIGHEST), vabs(x));
    const vec high = (vec)((uvec)a & leading);
    const exp_parts e = split_exp_of_sum(-half * (high * high), -half * ((a - high) * (a + high)));
    const vec bell = scale_by_power_of_two(e.q + one, e.n);
    const vec tail = bell * VPOLYNOMIAL(normal_tail, (a - vset1(5)) / (a + vset1(5))) / (one + a);
    return (normal_parts){vselect(vgt(x, vset1(0)), one - tail, tail), bell};
}
