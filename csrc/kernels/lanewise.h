/* The tiles of convolutions in which the lanes of source and target never meet: lane l of a target reads lane l of
 * its sources, or the lane that a *pick* says.
 *
 *     y[row][i] = max(floor, init + sum over runs, t, of w[run][t] x[run][row][i i_lines + t t_lines])  lanewise_sum
 *     dw[o][t] += sum over rows, i, of dy[row][i] x[o][row][i i_lines + t t_lines]                  lanewise_weights
 *
 * All of these are vectors. A *line* is what follows a vector of x along the axis of i: the next column where lanes
 * are channels, the next row where lanes are columns. Where taps are neighbours and targets one or two lines apart,
 * lines are loaded once for all taps of three: I + 2 loads and three of weights for 3 I multiply-adds. Lines may be
 * missing at both ends; what would read them is left out. */
#define LANEWISE_I 8                    /* targets of a tile, at most */
#define LANEWISE_TAPS 3                 /* taps that share their lines */

/* One row of taps: where it reads, relative to x and w, and which lane goes where, if not each to itself. */
typedef struct {
    int64_t x, w;
    const lane_int *pick;
} lanewise_run;

typedef struct {
    const real *x, *w, *init;
    real *y;
    const lanewise_run *runs;
    int64_t run_count, taps;
    int64_t rows, i;                    /* how many of each */
    int64_t x_row, y_row, line, y_i;    /* reals from one to the next */
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

/* x + step, computed just so: the compiler is not to keep the multiples of step in registers that it has not got. */
INLINE const real *next_line(const real *x, int64_t step)
{
    x += step;
    __asm__("" : "+r"(x));
    return x;
}

/* The lines that I targets read through T taps, and which of the targets reads line j through tap t; -1 if none. */
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
    const int64_t lines = sharing ? 1 : g->i_lines, step = lines * g->line;
    vec wt[LANEWISE_TAPS];
#pragma GCC unroll 3
    for (int t = 0; t < T; t++) wt[t] = vload(w + t * V);
#pragma GCC unroll 17
    for (int j = 0; j < lanewise_lines(I, T, sharing); j++, x = next_line(x, step)) {
        if (!edge || (uint64_t)(first + j * lines) < (uint64_t)g->lines) {
            vec xj = vkeep(vload(x));
            if (picks) xj = vpick(xj, pick);
#pragma GCC unroll 3
            for (int t = 0; t < T; t++) {
                const int i = lanewise_target(I, j, t, sharing);
                if (i >= 0) acc[i] = vfma(wt[t], xj, acc[i]);
            }
        }
    }
}

/* I targets, the first of which is y; its first tap reads x, line `first`. */
INLINE void lanewise_tile(const int I, const int sharing, const int edge, const int picks, const lanewise_args *g,
                          const real *tile_x, int64_t tile_first, real *y)
{
    vec acc[LANEWISE_I];
#pragma GCC unroll 8
    for (int i = 0; i < I; i++) acc[i] = vload(g->init);
    for (const lanewise_run *run = g->runs, *end = run + g->run_count; run < end; run++) {
        const real *x = tile_x + run->x, *w = g->w + run->w;
        const int64_t step = g->t_lines * g->line;
        const ivec pick = picks ? ivload(run->pick) : (ivec){0};
        int64_t first = tile_first, taps = g->taps;
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
    for (int i = 0; i < I; i++) acc[i] = vmax(floor, acc[i]);
    if (g->lanes == V)
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) vstore(y + i * g->y_i, acc[i]);
    else
        for (int i = 0; i < I; i++) vstore_first(y + i * g->y_i, acc[i], g->lanes);
}

typedef void lanewise_function(const lanewise_args *, const real *x, int64_t first, real *y);

#define LANEWISE_TILES(M, S, E, P)                                                                                     \
    M(1, S, E, P) M(2, S, E, P) M(3, S, E, P) M(4, S, E, P) M(5, S, E, P) M(6, S, E, P) M(7, S, E, P) M(8, S, E, P)
#define LANEWISE_SHARINGS(M, E, P) LANEWISE_TILES(M, 0, E, P) LANEWISE_TILES(M, 1, E, P) LANEWISE_TILES(M, 2, E, P)
#define LANEWISE_KINDS(M)                                                                                              \
    LANEWISE_SHARINGS(M, 0, 0) LANEWISE_SHARINGS(M, 1, 0) LANEWISE_SHARINGS(M, 0, 1) LANEWISE_SHARINGS(M, 1, 1)

#define DEFINE_LANEWISE(I, S, E, P)                                                                                    \
    static void lanewise_##I##_##S##E##P(const lanewise_args *g, const real *x, int64_t first, real *y)                \
    {                                                                                                                  \
        lanewise_tile(I, S, E, P, g, x, first, y);                                                                     \
    }
#define NAME_LANEWISE(I, S, E, P) [P][S][I - 1][E] = lanewise_##I##_##S##E##P,
LANEWISE_KINDS(DEFINE_LANEWISE)
static lanewise_function *const lanewise_functions[2][3][LANEWISE_I][2] = {LANEWISE_KINDS(NAME_LANEWISE)};

/* Targets begin .. end - 1 of all rows, a tile at a time; the last tile of a row may share some with the one before. */
static void lanewise_span(const lanewise_args *g, int edge, int64_t begin, int64_t end)
{
    if (begin >= end) return;
    const int64_t tile = ceil_div(end - begin, ceil_div(end - begin, LANEWISE_I));
    const int sharing = lanewise_sharing(g->i_lines, g->t_lines, g->taps), picks = g->run_count && g->runs->pick;
    lanewise_function *const function = lanewise_functions[picks][sharing][tile - 1][edge];
    const int64_t x_i = g->i_lines * g->line;
    for (int64_t row = 0; row < g->rows; row++) {
        const real *x = g->x + row * g->x_row;
        real *y = g->y + row * g->y_row;
        for (int64_t done = begin; done < end; done += tile) {
            const int64_t i = min64(done, end - tile);
            function(g, x + i * x_i, g->first + i * g->i_lines, y + i * g->y_i);
        }
    }
}

/* The targets of 0 .. i - 1 all of whose taps read lines that are there. */
static row_span lanewise_whole(int64_t i, int64_t i_lines, int64_t first, int64_t last, int64_t lines)
{
    row_span whole = {min64(i, first < 0 ? ceil_div(-first, i_lines) : 0), 0};
    whole.end = last >= lines ? whole.begin : max64(whole.begin, min64(i, (lines - 1 - last) / i_lines + 1));
    return whole;
}

static void lanewise_sum(const lanewise_args *g)
{
    const row_span whole = lanewise_whole(g->i, g->i_lines, g->first, g->first + (g->taps - 1) * g->t_lines, g->lines);
    if (whole.end - whole.begin == g->i || whole.end - whole.begin >= LANEWISE_I) {
        lanewise_span(g, 1, 0, whole.begin);
        lanewise_span(g, 0, whole.begin, whole.end);
        lanewise_span(g, 1, whole.end, g->i);
    } else {
        lanewise_span(g, 1, 0, g->i);
    }
}

/* ---- gradients of weights ---------------------------------------------------------------------------------------- */

typedef struct {
    const real *x, *dy;
    real *dw;                           /* dw[o][t] at o dw_o + t V */
    const lane_int *pick;
    int64_t rows, i;                    /* how many of each */
    int64_t x_row, dy_row, line, dy_i, x_o, dw_o;
    int64_t i_lines, t_lines, first, lines;
    int64_t lanes;                      /* that x and dy have */
} lanewise_weights_args;

#define LANEWISE_WEIGHTS_I 4            /* positions that share lines */

enum { ALL_LANES, PICKED_LANES, FIRST_LANES };

INLINE vec lanewise_load(const int lanes, const lanewise_weights_args *g, const real *x, ivec pick)
{
    const vec all = lanes == FIRST_LANES ? vload_first(x, g->lanes) : vload(x);
    return vkeep(lanes == PICKED_LANES ? vpick(all, pick) : all);
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
    const row_span whole = lanewise_whole(g->i, g->i_lines, g->first, g->first + (T - 1) * g->t_lines, g->lines);
    for (int64_t row = 0; row < g->rows; row++) {
        const real *x = g->x + row * g->x_row, *dy = g->dy + row * g->dy_row;
        const int64_t step = g->i_lines * g->line;
        int64_t i = 0;
#define PRODUCTS(I, edge)                                                                                              \
    lanewise_products(I, O, T, sharing, lanes, edge, sets, g, x + i * step, dy + i * g->dy_i, pick,                    \
                      g->first + i * g->i_lines, acc)
        for (; i < whole.begin; i++) PRODUCTS(1, 1);
        for (; i + LANEWISE_WEIGHTS_I <= whole.end; i += LANEWISE_WEIGHTS_I) PRODUCTS(LANEWISE_WEIGHTS_I, 0);
        for (; i < whole.end; i++) PRODUCTS(1, 0);
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
