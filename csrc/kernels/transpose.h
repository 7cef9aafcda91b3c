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

/* Adds the lanes h apart of 2 n vectors: t[p] has the sums of t[2p] where bit h is clear, of t[2p + 1] elsewhere. */
#define FOLD(h, n)                                                                                                     \
    _Pragma("GCC unroll 8") for (int p = 0; p < (n); p++)                                                              \
    {                                                                                                                  \
        vec a = t[2 * p], b = t[2 * p + 1];                                                                            \
        t[p] = __builtin_shufflevector(a, b, LANES(LO, h)) + __builtin_shufflevector(a, b, LANES(HI, h));              \
    }

/* y[i] = the sum of the lanes of x[i], for i < n vectors: V - 1 additions for V sums. */
static void sum_lanes(const real *x, int64_t n, real *y)
{
    vec t[V];
    for (int64_t i = 0; i < n; i += V) {
        const int64_t m = min64(V, n - i);
        for (int64_t l = 0; l < V; l++) t[l] = l < m ? vload(x + (i + l) * V) : vset1(0);
        FOLD(1, V / 2)
#if V >= 4
        FOLD(2, V / 4)
#endif
#if V >= 8
        FOLD(4, V / 8)
#endif
#if V >= 16
        FOLD(8, V / 16)
#endif
        vstore_first(y + i, t[0], m);
    }
}
