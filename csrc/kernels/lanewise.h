/* The tiles of convolutions in which the lanes of source and target never meet: lane l of a target reads lane l of its
 * sources, or the lane that a *pick* says.
 *
 *     y[i] = max(floor, init + sum over runs, t < taps, of w[run][t] x[run][i i_lines + t t_lines])     lanewise_sum
 *     dw[o][t] += sum over outer, i, of dy[outer][i] x[o][outer][i i_lines + t t_lines]                 lanewise_weights
 *
 * All of these are vectors. A *line* is what follows a vector of x along the axis of i: the next column where lanes are
 * channels, the next row where lanes are columns. Where taps are neighbours and targets one or two lines apart, lines are
 * loaded once for all taps of three: I + 2 loads and three of weights for 3 I multiply-adds. Lines may be missing at both
 * ends; what would read them is left out. */
#define LANEWISE_I 8                    /* targets of a tile */
#define LANEWISE_TAPS 3                 /* taps that share their lines */

/* One row of taps: where it reads, relative to the tile's x and w, and which lane goes where, if not each to itself. */
typedef struct {
    int64_t x, w;
    const lane_int *pick;
} lanewise_run;

typedef struct {
    const real *x, *w, *init;
    real *y;
    const lanewise_run *runs;
    int64_t run_count, taps;
    int64_t line, y_i;                  /* reals from a line to the next, from a target to the next */
    int64_t i_lines, t_lines;           /* lines from a target's source to the next's, from a tap's to the next's */
    int64_t first, lines;               /* x is line `first`; there are lines 0 .. lines - 1 */
    int64_t lanes;                      /* of y that are stored */
    real floor;                         /* 0 makes a ReLU of it, -INFINITY leaves it alone */
} lanewise_args;

/* How lines are shared: 1 or 2, that many from a target to the next and one from a tap to the next; 0, not at all. */
INLINE int lanewise_sharing(int64_t i_lines, int64_t t_lines, int64_t taps)
{
    return (taps == 1 || t_lines == 1) && (i_lines == 1 || i_lines == 2) ? (int)i_lines : 0;
}

/* The lines that I targets read through T taps, and which of the targets reads line j through tap t: -1 if none does. */
INLINE int lanewise_lines(const int I, const int T, const int sharing) { return sharing ? (I - 1) * sharing + T : I; }
INLINE int lanewise_target(const int I, const int j, const int t, const int sharing)
{
    if (!sharing) return j;
    return j >= t && (j - t) % sharing == 0 && (j - t) / sharing < I ? (j - t) / sharing : -1;
}

/* acc[i] += w[t] x[i i_lines + t t_lines] for T taps, the first of which reads x, line `first`, for i = 0. */
INLINE void lanewise_taps(const int I, const int T, const int sharing, const int edge, const int picks,
                          const lanewise_args *g, const real *x, const real *w, ivec pick, int64_t first, vec *acc)
{
    vec wt[LANEWISE_TAPS];
#pragma GCC unroll 3
    for (int t = 0; t < T; t++) wt[t] = vload(w + t * V);
#pragma GCC unroll 17
    for (int j = 0; j < lanewise_lines(I, T, sharing); j++) {
        const int64_t line = sharing ? j : j * g->i_lines;
        if (!edge || (uint64_t)(first + line) < (uint64_t)g->lines) {
            vec xj = vload(x + line * g->line);
            if (picks) xj = vpick(xj, pick);
#pragma GCC unroll 3
            for (int t = 0; t < T; t++) {
                const int i = lanewise_target(I, j, t, sharing);
                if (i >= 0) acc[i] = vfma(wt[t], xj, acc[i]);
            }
        }
    }
}

INLINE void lanewise_tile(const int I, const int sharing, const int edge, const int picks, const lanewise_args *g)
{
    vec acc[LANEWISE_I];
#pragma GCC unroll 8
    for (int i = 0; i < I; i++) acc[i] = vload(g->init);
    for (const lanewise_run *run = g->runs, *end = run + g->run_count; run < end; run++) {
        const real *x = g->x + run->x, *w = g->w + run->w;
        const int64_t step = g->t_lines * g->line;
        const ivec pick = picks ? ivload(run->pick) : (ivec){0};
        int64_t first = g->first, taps = g->taps;
        if (sharing) {
            for (; taps >= 3; taps -= 3, x += 3 * step, w += 3 * V, first += 3)
                lanewise_taps(I, 3, sharing, edge, picks, g, x, w, pick, first, acc);
            if (taps == 2) lanewise_taps(I, 2, sharing, edge, picks, g, x, w, pick, first, acc);
            if (taps == 1) lanewise_taps(I, 1, sharing, edge, picks, g, x, w, pick, first, acc);
        } else {
            for (; taps > 0; taps--, x += step, w += V, first += g->t_lines)
                lanewise_taps(I, 1, 0, edge, picks, g, x, w, pick, first, acc);
        }
    }
    const vec floor = vset1(g->floor);
#pragma GCC unroll 8
    for (int i = 0; i < I; i++) {
        acc[i] = vmax(floor, acc[i]);
        if (g->lanes == V) vstore(g->y + i * g->y_i, acc[i]);
        else vstore_first(g->y + i * g->y_i, acc[i], g->lanes);
    }
}

typedef void lanewise_function(const lanewise_args *);

#define LANEWISE_TILES(M, ...)                                                                                         \
    M(1, __VA_ARGS__) M(2, __VA_ARGS__) M(3, __VA_ARGS__) M(4, __VA_ARGS__)                                            \
    M(5, __VA_ARGS__) M(6, __VA_ARGS__) M(7, __VA_ARGS__) M(8, __VA_ARGS__)
#define LANEWISE_KINDS(M) M(0, 0, 0) M(1, 0, 0) M(2, 0, 0) M(0, 1, 0) M(1, 1, 0) M(2, 1, 0)                            \
    M(0, 0, 1) M(1, 0, 1) M(2, 0, 1) M(0, 1, 1) M(1, 1, 1) M(2, 1, 1)

#define DEFINE_LANEWISE(I, S, E, P)                                                                                    \
    static void lanewise_##I##_##S##E##P(const lanewise_args *g) { lanewise_tile(I, S, E, P, g); }
#define NAME_LANEWISE(I, S, E, P) [P][E][S][I - 1] = lanewise_##I##_##S##E##P,
#define DEFINE_LANEWISE_KIND(S, E, P) LANEWISE_TILES(DEFINE_LANEWISE, S, E, P)
#define NAME_LANEWISE_KIND(S, E, P) LANEWISE_TILES(NAME_LANEWISE, S, E, P)
LANEWISE_KINDS(DEFINE_LANEWISE_KIND)
static lanewise_function *const lanewise_functions[2][2][3][LANEWISE_I] = {LANEWISE_KINDS(NAME_LANEWISE_KIND)};

/* `count` targets from g->y on. Changes x, y and first. */
static void lanewise_sum(lanewise_args g, int64_t count)
{
    const int sharing = lanewise_sharing(g.i_lines, g.t_lines, g.taps), picks = g.run_count && g.runs->pick;
    const int64_t tiles = ceil_div(count, LANEWISE_I);
    const lanewise_args all = g;
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t i = part_begin(count, tiles, tile), n = part_begin(count, tiles, tile + 1) - i;
        g.x = all.x + i * g.i_lines * g.line;
        g.y = all.y + i * g.y_i;
        g.first = all.first + i * g.i_lines;
        const int edge = g.first < 0 || g.first + (n - 1) * g.i_lines + (g.taps - 1) * g.t_lines >= g.lines;
        lanewise_functions[picks][edge][sharing][n - 1](&g);
    }
}

/* ---- gradients of weights -------------------------------------------------------------------------------------------- */

typedef struct {
    const real *x, *dy;
    real *dw;                           /* dw[o][t] at o dw_o + t V */
    const lane_int *pick;
    int64_t outer, i;                   /* how many of each */
    int64_t x_outer, dy_outer, x_o, dw_o;
    int64_t line, dy_i;
    int64_t i_lines, t_lines, first, lines;
    int64_t lanes;                      /* that x and dy have */
} lanewise_weights_args;

#define LANEWISE_WEIGHTS_I 4            /* positions that share lines */

enum { ALL_LANES, PICKED_LANES, FIRST_LANES };

INLINE vec lanewise_load(const int lanes, const lanewise_weights_args *g, const real *x, ivec pick)
{
    return lanes == FIRST_LANES ? vload_first(x, g->lanes) : lanes == PICKED_LANES ? vpick(vload(x), pick) : vload(x);
}

/* The products of I positions with O x T taps. Fewer than eight sums wait for each other, so positions take turns in
   `sets` of them. */
INLINE void lanewise_products(const int I, const int O, const int T, const int sharing, const int lanes, const int edge,
                              const int sets, const lanewise_weights_args *g, const real *x, const real *dy, ivec pick,
                              int64_t first, vec *acc)
{
    vec dyi[LANEWISE_WEIGHTS_I];
#pragma GCC unroll 4
    for (int i = 0; i < I; i++)
        dyi[i] = lanes == FIRST_LANES ? vload_first(dy + i * g->dy_i, g->lanes) : vload(dy + i * g->dy_i);
#pragma GCC unroll 12
    for (int j = 0; j < lanewise_lines(I, T, sharing); j++) {
        const int64_t line = sharing ? j : j * g->i_lines;
        if (!edge || (uint64_t)(first + line) < (uint64_t)g->lines)
#pragma GCC unroll 3
            for (int o = 0; o < O; o++) {
                const vec xj = lanewise_load(lanes, g, x + line * g->line + o * g->x_o, pick);
#pragma GCC unroll 3
                for (int t = 0; t < T; t++) {
                    const int i = lanewise_target(I, j, t, sharing), sum = (i % sets * O + o) * T + t;
                    if (i >= 0) acc[sum] = vfma(dyi[i], xj, acc[sum]);
                }
            }
    }
}

INLINE void lanewise_weights_tile(const int O, const int T, const int sharing, const int lanes,
                                  const lanewise_weights_args *g)
{
    const int sets = O * T >= 8 ? 1 : O * T >= 4 ? 2 : 4;
    vec acc[4 * LANEWISE_TAPS];
#pragma GCC unroll 12
    for (int s = 0; s < sets * O * T; s++) acc[s] = vset1(0);
    const ivec pick = lanes == PICKED_LANES ? ivload(g->pick) : (ivec){0};
    /* The positions whose taps all read lines that are there. */
    const int64_t reach = g->first + (T - 1) * g->t_lines;
    const int64_t begin = min64(g->i, g->first < 0 ? ceil_div(-g->first, g->i_lines) : 0);
    const int64_t end = reach >= g->lines ? begin : max64(begin, min64(g->i, (g->lines - 1 - reach) / g->i_lines + 1));
    for (int64_t outer = 0; outer < g->outer; outer++) {
        const real *x = g->x + outer * g->x_outer, *dy = g->dy + outer * g->dy_outer;
        const int64_t step = g->i_lines * g->line;
        int64_t i = 0;
#define PRODUCTS(I, edge)                                                                                              \
    lanewise_products(I, O, T, sharing, lanes, edge, sets, g, x + i * step, dy + i * g->dy_i, pick,                    \
                      g->first + i * g->i_lines, acc)
        for (; i < begin; i++) PRODUCTS(1, 1);
        for (; i + LANEWISE_WEIGHTS_I <= end; i += LANEWISE_WEIGHTS_I) PRODUCTS(LANEWISE_WEIGHTS_I, 0);
        for (; i < end; i++) PRODUCTS(1, 0);
        for (; i < g->i; i++) PRODUCTS(1, 1);
#undef PRODUCTS
    }
#pragma GCC unroll 3
    for (int o = 0; o < O; o++)
#pragma GCC unroll 3
        for (int t = 0; t < T; t++) {
            vec sum = acc[o * T + t];
#pragma GCC unroll 4
            for (int s = 1; s < sets; s++) sum += acc[(s * O + o) * T + t];
            real *dw = g->dw + o * g->dw_o + t * V;
            vstore(dw, vload(dw) + sum);
        }
}

typedef void lanewise_weights_function(const lanewise_weights_args *);

#define LANEWISE_WEIGHTS_OF_O(M, O, L) M(O, 1, 0, L) M(O, 2, 1, L) M(O, 3, 1, L) M(O, 2, 2, L) M(O, 3, 2, L)
#define LANEWISE_WEIGHTS(M, L)                                                                                         \
    LANEWISE_WEIGHTS_OF_O(M, 1, L) LANEWISE_WEIGHTS_OF_O(M, 2, L) LANEWISE_WEIGHTS_OF_O(M, 3, L)
#define DEFINE_LANEWISE_WEIGHTS(O, T, S, L)                                                                            \
    static void lanewise_weights_##O##T##S##L(const lanewise_weights_args *g) { lanewise_weights_tile(O, T, S, L, g); }
#define NAME_LANEWISE_WEIGHTS(O, T, S, L) [L][S][O - 1][T - 1] = lanewise_weights_##O##T##S##L,
LANEWISE_WEIGHTS(DEFINE_LANEWISE_WEIGHTS, 0)
LANEWISE_WEIGHTS(DEFINE_LANEWISE_WEIGHTS, 1)
LANEWISE_WEIGHTS(DEFINE_LANEWISE_WEIGHTS, 2)
static lanewise_weights_function *const lanewise_weights_functions[3][3][LANEWISE_TAPS][LANEWISE_TAPS] = {
    LANEWISE_WEIGHTS(NAME_LANEWISE_WEIGHTS, 0) LANEWISE_WEIGHTS(NAME_LANEWISE_WEIGHTS, 1)
    LANEWISE_WEIGHTS(NAME_LANEWISE_WEIGHTS, 2)
};

/* How many taps along the axis of i share their lines. */
INLINE int64_t lanewise_shared_taps(int64_t i_lines, int64_t t_lines, int64_t taps)
{
    return lanewise_sharing(i_lines, t_lines, taps) ? LANEWISE_TAPS : 1;
}

/* dw += the products; o and t are at most LANEWISE_TAPS, and t one where taps do not share lines. */
static void lanewise_weights(const lanewise_weights_args *g, int64_t o, int64_t t)
{
    const int lanes = g->pick ? PICKED_LANES : g->lanes < V ? FIRST_LANES : ALL_LANES;
    const int sharing = t == 1 ? 0 : (int)g->i_lines;
    lanewise_weights_functions[lanes][sharing][o - 1][t - 1](g);
}
