/* Rows into lanes and lanes into rows: V x V transpositions in registers, log2 V exchanges of each pair of vectors. */

/* Exchanges the lanes h apart: lo has those of `a` whose bit h is clear, then those of `b`; hi the others. */
#define LO(l, h) ((l) & (h) ? V + (l) - (h) : (l))
#define HI(l, h) ((l) & (h) ? V + (l) : (l) + (h))
#define LANES_2(F, h) F(0, h), F(1, h)
#define LANES_4(F, h) LANES_2(F, h), F(2, h), F(3, h)
#define LANES_8(F, h) LANES_4(F, h), F(4, h), F(5, h), F(6, h), F(7, h)
#define LANES_16(F, h)                                                                                                 \
    LANES_8(F, h), F(8, h), F(9, h), F(10, h), F(11, h), F(12, h), F(13, h), F(14, h), F(15, h)
#if V == 16
#define LANES(F, h) LANES_16(F, h)
#elif V == 8
#define LANES(F, h) LANES_8(F, h)
#elif V == 4
#define LANES(F, h) LANES_4(F, h)
#else
#define LANES(F, h) LANES_2(F, h)
#endif

#define EXCHANGE(h)                                                                                                    \
    _Pragma("GCC unroll 16") for (int i = 0; i < V; i++)                                                               \
    {                                                                                                                  \
        if (i & (h)) continue;                                                                                         \
        vec a = t[i], b = t[i + (h)];                                                                                  \
        t[i] = __builtin_shufflevector(a, b, LANES(LO, h));                                                            \
        t[i + (h)] = __builtin_shufflevector(a, b, LANES(HI, h));                                                      \
    }

INLINE void transpose_vectors(vec t[V])
{
    EXCHANGE(1)
#if V >= 4
    EXCHANGE(2)
#endif
#if V >= 8
    EXCHANGE(4)
#endif
#if V >= 16
    EXCHANGE(8)
#endif
}

/* y[s][lane] = rows[lane][s] for s < n: V rows of n reals -> n vectors, past the caches where `streamed`. */
INLINE void rows_into_lanes(const int streamed, const real *const rows[V], int64_t n, real *y)
{
    vec t[V];
    int64_t s = 0;
    for (; s + V <= n; s += V) {
#pragma GCC unroll 16
        for (int l = 0; l < V; l++) t[l] = vload(rows[l] + s);
        transpose_vectors(t);
#pragma GCC unroll 16
        for (int l = 0; l < V; l++) vput(streamed, y + (s + l) * V, t[l]);
    }
    if (s == n) return;
    for (int l = 0; l < V; l++) t[l] = vload_first(rows[l] + s, n - s);
    transpose_vectors(t);
    for (int64_t l = 0; l < n - s; l++) vput(streamed, y + (s + l) * V, t[l]);
}

static void rows_to_lanes(const real *const rows[V], int64_t n, real *y) { rows_into_lanes(0, rows, n, y); }

/* rows[lane][s] = x[s][lane] for s < n and lane < lanes: n vectors -> rows of n reals. */
static void lanes_to_rows(const real *x, int64_t n, real *const rows[V], int64_t lanes)
{
    vec t[V];
    int64_t s = 0;
    for (; s + V <= n; s += V) {
#pragma GCC unroll 16
        for (int l = 0; l < V; l++) t[l] = vload(x + (s + l) * V);
        transpose_vectors(t);
        if (lanes == V) {
#pragma GCC unroll 16
            for (int l = 0; l < V; l++) vstore(rows[l] + s, t[l]);
        } else {
            for (int64_t l = 0; l < lanes; l++) vstore(rows[l] + s, t[l]);
        }
    }
    if (s == n) return;
    for (int l = 0; l < V; l++) t[l] = s + l < n ? vload(x + (s + l) * V) : vset1(0);
    transpose_vectors(t);
    for (int64_t l = 0; l < lanes; l++) vstore_first(rows[l] + s, t[l], n - s);
}

/* How rows of pixels are made of up to MOST_INTERLEAVED rows: the lanes of vector v of V pixels that are row ch, -1 elsewhere. */
#define MOST_INTERLEAVED 4
typedef struct { lane_int of[MOST_INTERLEAVED][MOST_INTERLEAVED][V]; } pixel_lanes;

static void find_pixel_lanes(int64_t count, pixel_lanes *lanes)
{
    for (int64_t v = 0; v < count && count <= MOST_INTERLEAVED; v++)
        for (int64_t ch = 0; ch < count; ch++)
            for (int64_t l = 0; l < V; l++)
                lanes->of[v][ch][l] = (v * V + l) % count == ch ? (lane_int)((v * V + l) / count) : -1;
}

/* to[q][ch] = x[ch * stride + q] for q < n and ch < count. */
static void interleave(const pixel_lanes *lanes, const real *x, int64_t stride, int64_t count, int64_t n, real *to)
{
    const int64_t in_vectors = count <= MOST_INTERLEAVED ? n / V * V : 0;
    for (int64_t q = 0; q < in_vectors; q += V)
        for (int64_t v = 0; v < count; v++) {
            vec pixels = vset1(0);
            for (int64_t ch = 0; ch < count; ch++) pixels += vpick(vload(x + ch * stride + q), ivload(lanes->of[v][ch]));
            vstore(to + q * count + v * V, pixels);
        }
    for (int64_t ch = 0; ch < count; ch++)
        for (int64_t q = in_vectors; q < n; q++) to[q * count + ch] = x[ch * stride + q];
}

/* x[ch][q] = from[q][ch] for q < n <= V and ch < count <= MOST_INTERLEAVED; zero for q >= n. */
#define EVEN(l, h) (2 * (l))
#define ODD(l, h) (2 * (l) + 1)
static void deinterleave(int64_t count, const real *from, int64_t n, vec *x)
{
    if (count == 2 && n == V) {
        const vec a = vload(from), b = vload(from + V);
        x[0] = __builtin_shufflevector(a, b, LANES(EVEN, 0));
        x[1] = __builtin_shufflevector(a, b, LANES(ODD, 0));
        return;
    }
    for (int64_t ch = 0; ch < count; ch++) {
        real lanes[V] = {0};
        for (int64_t q = 0; q < n; q++) lanes[q] = from[q * count + ch];
        x[ch] = vload(lanes);
    }
}

/* The way back: the lanes of vector v of interleaved pixels that go to row ch. */
static void find_row_lanes(int64_t count, pixel_lanes *lanes)
{
    for (int64_t ch = 0; ch < count && count <= MOST_INTERLEAVED; ch++)
        for (int64_t v = 0; v < count; v++)
            for (int64_t l = 0; l < V; l++)
                lanes->of[ch][v][l] = (l * count + ch) / V == v ? (lane_int)((l * count + ch) % V) : -1;
}

/* to[ch * stride + q] = x[q][ch] for q < n and ch < count, at most MOST_INTERLEAVED. */
static void pixels_to_rows(const pixel_lanes *lanes, const real *x, int64_t count, int64_t n, real *to, int64_t stride)
{
    const int64_t in_vectors = n / V * V;
    for (int64_t q = 0; q < in_vectors; q += V)
        for (int64_t ch = 0; ch < count; ch++) {
            vec row = vset1(0);
            for (int64_t v = 0; v < count; v++)
                row += vpick(vload(x + q * count + v * V), ivload(lanes->of[ch][v]));
            vstore(to + ch * stride + q, row);
        }
    for (int64_t ch = 0; ch < count; ch++)
        for (int64_t q = in_vectors; q < n; q++) to[ch * stride + q] = x[q * count + ch];
}

/* Pairs of vectors h apart become one that holds sums of both, in lanes that differ in bit h. */
#define FOLD(h)                                                                                                        \
    _Pragma("GCC unroll 16") for (int i = 0; i < V; i += 2 * (h))                                                      \
    {                                                                                                                  \
        vec a = t[i], b = t[i + (h)];                                                                                  \
        t[i] = __builtin_shufflevector(a, b, LANES(LO, h)) + __builtin_shufflevector(a, b, LANES(HI, h));              \
    }

/* y[i] = the sum of the lanes of x[i], for i < n vectors. */
static void sum_lanes(const real *x, int64_t n, real *y)
{
    vec t[V];
    for (int64_t i = 0; i < n; i += V) {
        const int64_t m = min64(V, n - i);
        if (m == V)
#pragma GCC unroll 16
            for (int l = 0; l < V; l++) t[l] = vload(x + (i + l) * V);
        else
#pragma GCC unroll 16
            for (int l = 0; l < V; l++) t[l] = l < m ? vload(x + (i + l) * V) : vset1(0);
        FOLD(1)
#if V >= 4
        FOLD(2)
#endif
#if V >= 8
        FOLD(4)
#endif
#if V >= 16
        FOLD(8)
#endif
        vstore_first(y + i, t[0], m);
    }
}
